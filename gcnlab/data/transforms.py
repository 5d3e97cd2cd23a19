"""What happens to an image and its label between the file and the batch."""

import math

import numpy as np
import torch
import torchvision.transforms.v2.functional as tvf
from PIL import Image
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # image, label
VOID = 255
MEAN_COLOUR = (124, 116, 104)  # the ImageNet mean: zero after normalisation, as Caffe's padding was


def resize_long_side(image: Image.Image, label: np.ndarray, long_side: int) -> tuple:
    """Scale image (bilinear, antialiased) and label (nearest) to a longer side of ``long_side``."""
    scale = long_side / max(image.size)
    size = tuple(max(1, round(s * scale)) for s in image.size)
    label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    return image.resize(size, Image.Resampling.BILINEAR), label


def pad(
    image: np.ndarray, label: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pad at the bottom and the right: images with the mean colour, labels with void.

    ``image`` (H, W, 3) uint8, ``label`` (H, W) uint8 → the same of ``height`` × ``width``. Raises
    ``ValueError`` if the image is larger.
    """
    h, w = label.shape
    if h > height or w > width:
        raise ValueError(f"an image of {w}×{h} does not fit into {width}×{height}")
    pixels = np.full((height, width, 3), MEAN_COLOUR, np.uint8)
    labels = np.full((height, width), VOID, np.uint8)
    pixels[:h, :w], labels[:h, :w] = image, label
    return pixels, labels


def crop_part(image: Tensor, label: Tensor, generator: torch.Generator, side: int) -> Pair:
    """A random ``side`` × ``side`` part of ``image`` (3, H, W) and of its label map (H, W)."""
    top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in label.shape)
    part = (..., slice(top, top + side), slice(left, left + side))
    return image[part], label[part]


def random_flip(
    images: Tensor, labels: Tensor, generator: torch.Generator, part: tuple[int, int] = (0, 1)
) -> Pair:
    """Flip each image of the batch left–right with probability ½, with its label map if any.

    ``part`` (i, n): the images are i, i + n, … of a batch of n times as many.
    """
    first, step = part
    flip = torch.rand(step * len(images), generator=generator)[first::step] < 0.5
    images = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
    if labels.ndim == 3:
        labels = torch.where(flip.view(-1, 1, 1), labels.flip(-1), labels)
    return images, labels


def centre_crop(image: Tensor, resize: int, side: int) -> Tensor:
    """The middle ``side`` × ``side`` of ``image`` (3, H, W), its shorter side scaled first."""
    return tvf.center_crop(tvf.resize(image, [resize], antialias=True), [side, side])


def random_crop(image: Tensor, side: int, least_area: float, generator: torch.Generator) -> Tensor:
    """A random part of ``image`` (3, H, W), scaled to ``side`` × ``side``, as for ImageNet.

    Its area is uniform in ``least_area`` … 1 of the image's, its aspect ratio log-uniform in
    3/4 … 4/3; after ten tries that do not fit, the largest central square.
    """
    height, width = image.shape[-2:]
    for _ in range(10):
        u = torch.rand(4, generator=generator).tolist()
        area = height * width * (least_area + (1 - least_area) * u[0])
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * u[1])
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            top, left = int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1))
            return tvf.resized_crop(image, top, left, h, w, [side, side], antialias=True)
    square = tvf.center_crop(image, [min(height, width)] * 2)
    return tvf.resize(square, [side, side], antialias=True)
