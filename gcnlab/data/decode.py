"""From the files of one sample to tensors of one size."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gcnlab.data.readers import Sample, class_map, read_image
from gcnlab.data.source import Source
from gcnlab.data.spec import DataSpec
from gcnlab.data.transforms import pad, resize_long_side
from gcnlab.errors import UserError

Decoded = tuple[Tensor, Tensor, tuple[int, int]]


class SegmentationDecoder:
    """A sample → image (3, H, W), label map (H, W), both uint8, and unpadded (height, width).

    Raises ``UserError`` for a damaged file, or an image that does not fit the canvas.
    """

    def __init__(self, spec: DataSpec):
        self.spec, self.class_map = spec, class_map(spec.classes)

    def __call__(self, sample: Sample) -> Decoded:
        image, label = read_pair(self.spec.source, sample)
        if self.spec.long_side is not None:
            image, label = resize_long_side(image, label, self.spec.long_side)
        size, (height, width) = label.shape, self.spec.canvas
        if size[0] > height or size[1] > width:
            problem = f"{sample.image} is {image.size[0]}×{image.size[1]}, larger than"
            remedy = "use images that fit, or a profile that scales"
            raise UserError(f"{problem} the {width}×{height} pixels of this profile: {remedy}")
        pixels, label = pad(np.asarray(image), self.class_map[label], height, width)
        return _to_tensor(pixels), torch.from_numpy(label), size


class ClassificationDecoder:
    """(file, class) → image (3, H, W) uint8, class id, and the unpadded (height, width).

    Without ``resize`` the image is padded to the canvas, else it keeps its size.
    """

    def __init__(self, spec: DataSpec):
        self.spec = spec

    def __call__(self, sample: tuple[Path, int]) -> Decoded:
        pixels = np.asarray(read_image(sample[0]))
        size = pixels.shape[:2]
        if self.spec.resize is None:
            pixels, _ = pad(pixels, np.zeros(size, np.uint8), *self.spec.canvas)
        return _to_tensor(pixels), torch.tensor(sample[1]), size


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def read_pair(source: Source, sample: Sample) -> tuple[Image.Image, np.ndarray]:
    """Image and label map; ``UserError`` unless they have one size, that of ``source``."""
    image = read_image(sample.image)
    # A size that an annotation makes up is found before so much memory is taken.
    _check_size(sample, image.size, sample.annotated_size or image.size)
    if source.size is not None and image.size != source.size:
        own, others = ("×".join(map(str, size)) for size in (image.size, source.size))
        raise UserError(f"{sample.image} is {own}, not {others}: use the images of that size")
    label = sample.read_label(len(source.classes))
    _check_size(sample, image.size, label.shape[::-1])
    return image, label


def _check_size(sample: Sample, image: tuple[int, int], label: tuple[int, int]) -> None:
    if image != label:
        own, labels = ("×".join(map(str, size)) for size in (image, label))
        problem = f"{sample.label} is {labels} but {sample.image.name} is {own}"
        raise UserError(f"{problem}: image and label must match")
