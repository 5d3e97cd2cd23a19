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


def decode_segmentation(spec: DataSpec, sample: Sample) -> Decoded:
    """A sample → image (3, H, W), label map (H, W), both uint8, and unpadded (height, width).

    Raises ``UserError`` for a damaged file, or an image that does not fit the canvas.
    """
    image, label = read_pair(spec.source, sample)
    if spec.long_side is not None:
        image, label = resize_long_side(image, label, spec.long_side)
    pixels, padded = _on_canvas(spec, sample.image, image, class_map(spec.classes)[label])
    return _to_tensor(pixels), torch.from_numpy(padded), label.shape


def decode_classification(spec: DataSpec, sample: tuple[Path, int]) -> Decoded:
    """(file, class) → image (3, H, W) uint8, class id, and the unpadded (height, width).

    Without ``resize`` the image is padded to the canvas, else it keeps its size. Raises
    ``UserError`` as :func:`decode_segmentation`.
    """
    path, class_id = sample
    image = read_image(path)
    pixels, size = np.asarray(image), image.size[::-1]
    if spec.resize is None:
        pixels, _ = _on_canvas(spec, path, image, np.zeros(size, np.uint8))
    return _to_tensor(pixels), torch.tensor(class_id), size


def _on_canvas(
    spec: DataSpec, path: Path, image: Image.Image, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    height, width = spec.canvas
    if image.height > height or image.width > width:
        problem = f"{path} is {image.width}×{image.height}, larger than the {width}×{height} pixels"
        remedy = "use images that fit, or a profile that scales"
        raise UserError(f"{problem} of this profile: {remedy}")
    return pad(np.asarray(image), label, height, width)


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
