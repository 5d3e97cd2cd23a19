"""Classifiers for pre-training a backbone, and the normalisation of images that weights expect."""

import torch
from torch import Tensor, nn

from gcnlab.errors import NoSuchModel, check_name
from gcnlab.models.backbones import build_backbone

# mean and standard deviation of values in [0, 1], RGB
CONVENTIONS = {
    "rgb": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
}


class Normalize(nn.Module):
    """Turn RGB images into what the backbone's weights were trained on.

    ``rgb``: [0, 1], minus the ImageNet mean, over its standard deviation (torchvision's weights).
    ``caffe``: BGR in 0 … 255 minus the ImageNet mean (as the paper's Caffe models subtract it).

    Input: uint8 in 0 … 255, or float in [0, 1], ``(N, 3, H, W)``, RGB. Output: float, same shape.
    Raises ``ValueError`` for another convention.
    """

    def __init__(self, convention: str = "rgb"):
        super().__init__()
        check_name("normalization", convention, CONVENTIONS, NoSuchModel)
        self.bgr = convention == "caffe"
        for name, values in zip(("mean", "std"), CONVENTIONS[convention], strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        images = (images - self.mean) / self.std
        return images.flip(1) if self.bgr else images


class Classifier(nn.Module):
    """A backbone, global average pooling and a linear layer: ``(N, 3, H, W) -> (N, num_classes)``.

    Gives logits; images as for :class:`Normalize`, of any size. Its checkpoint serves as
    ``weights`` of every segmenter on that backbone.
    """

    def __init__(self, backbone: nn.Module, num_classes: int, normalization: str = "rgb"):
        super().__init__()
        self.normalize, self.backbone = Normalize(normalization), backbone
        self.fc = nn.Linear(backbone.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.backbone(self.normalize(images))[-1].mean((-2, -1)))


def build_classifier(backbone: str, num_classes: int, normalization: str = "rgb") -> Classifier:
    """A classifier on ``backbone`` with random weights; ``ValueError`` names known backbones."""
    return Classifier(build_backbone(backbone), num_classes, normalization)


def resnet50_gcn(num_classes: int = 1000) -> Classifier:
    """ResNet50-GCN of Fig. 5 and Table 11 as an ImageNet classifier: 22.55 M parameters in all."""
    return build_classifier("resnet50_gcn", num_classes)
