"""torchvision's ResNets and SqueezeNet as backbones; ResNets also in GCN form (Fig. 5)."""

from collections.abc import Mapping
from itertools import pairwise

import torchvision
from torch import nn

from gcnlab.models.blocks import Backbone, GCNBlock, GCNStage

RESNET50_GCN = {4: GCNStage(5, 85), 5: GCNStage(7, 128)}  # the stages that change, and their sizes


class ResNet(Backbone):
    """A torchvision ResNet: C2 … C5 are the outputs of res-2 … res-5 (strides 4, 8, 16, 32).

    Parameter names are torchvision's, so that its weight files load unchanged.

    Args:
        depth: 18, 34, 50, 101 or 152; with ``caffe`` one that has bottlenecks, 50 or more.
        caffe: as the original ResNet in Caffe, and the paper: the resolution is halved in the first
            1×1 convolution of a bottleneck, not in its 3×3, and the windows of the max pooling
            begin at the first pixel. The tensors of the two have the same names and shapes: a file
            does not say which it was trained for.
        gcn: stages (2 … 5) whose blocks become :class:`GCNBlock`, and their sizes.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, depth: int, caffe: bool = False, gcn: Mapping[int, GCNStage] | None = None):
        super().__init__()
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        self.channels = tuple(c * (1 if depth < 50 else 4) for c in (64, 128, 256, 512))
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(net, name))
        if caffe:
            for stage in (self.layer2, self.layer3, self.layer4):
                stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
            self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage, size in (gcn or {}).items():
            before, channels = (64, *self.channels)[stage - 2 : stage]
            first = GCNBlock(before, channels, *size, stride=1 if stage == 2 else 2)
            blocks = len(getattr(self, f"layer{stage - 1}"))
            rest = (GCNBlock(channels, channels, *size) for _ in range(blocks - 1))
            layer = nn.Sequential(first, *rest)
            for module in layer.modules():
                if isinstance(module, nn.Conv2d):  # as torchvision initialises the other stages
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            setattr(self, f"layer{stage - 1}", layer)

    def parts(self) -> list[nn.Module]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool, self.layer1)
        return [stem, self.layer2, self.layer3, self.layer4]

    def components(self) -> dict[str, nn.Module]:
        """The rows of Table 11, from the input to res-5."""
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        stem = {"conv1": nn.Sequential(self.conv1, self.bn1), "max pool": self.maxpool}
        return stem | {f"res-{i}": stage for i, stage in enumerate(stages, 2)}


class SqueezeNet(Backbone):
    """torchvision's SqueezeNet 1.1: an ImageNet backbone that a CPU can train.

    The first convolution is padded by one pixel (torchvision pads none), which makes C2 … C5
    exactly 1/2 … 1/16 of the input: of a 256-pixel image C5 has 16×16 cells, as in the paper.
    Weight names and values are unchanged.
    """

    strides = (2, 4, 8, 16)
    channels = (64, 128, 256, 512)
    edges = (0, 2, 5, 8, 13)  # after the first ReLU, and the second fire module of each resolution

    def __init__(self):
        super().__init__()
        self.features = torchvision.models.squeezenet1_1(weights=None).features
        self.features[0].padding = (1, 1)

    def parts(self) -> list[nn.Module]:
        return [self.features[first:end] for first, end in pairwise(self.edges)]
