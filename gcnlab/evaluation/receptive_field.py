"""What one score depends on: the valid, the effective and the theoretical receptive field.

Every function takes a segmenter, any module ``(N, 3, H, W) -> (N, classes, H, W)``, and a ``point`` (row, column) of
the image, and looks at the score (logit) of one class there. Maps are float32 ``(H, W)`` on the CPU, in image
coordinates.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from gcnlab.evaluation.changed_taps import ChangedTaps, positive_twin

MEAN_COLOUR = (124, 116, 104)  # the ImageNet mean, which normalisation turns into 0
FILLS = ("mean", "black", "noise")


def predicted_class(model: nn.Module, image: Tensor, point: tuple[int, int]) -> int:
    """The class with the highest score at ``point`` of ``image`` (3, H, W)."""
    with _evaluating(model), torch.no_grad():
        return int(model(image[None].to(_device(model)))[0, :, *_checked(point, image.shape[-2:])].argmax())


def occlusion_map(
    model: nn.Module,
    image: Tensor,
    point: tuple[int, int],
    window: int = 11,
    stride: int = 3,
    class_id: int | None = None,
    fill: str | Sequence[str] = "mean",
    batch_size: int = 64,
    log: Callable[[str], None] | None = print,
) -> Tensor:
    """The valid receptive field after Zhou et al. (2015): how much hiding a part of the image lowers the score.

    A ``window`` × ``window`` square slides over the image in steps of ``stride``; the fall of the score (original −
    occluded) belongs to the window's centre. Every pixel takes the value of the nearest centre among the windows that
    hide it. Of a :class:`gcnlab.models.segmenter.Segmenter` only what changes is computed (see
    :class:`gcnlab.evaluation.changed_taps.ChangedTaps`), and nothing for windows outside the theoretical receptive
    field, whose fall is exactly 0; any other model sees every occluded image whole.

    Args:
        image: (3, H, W), uint8 in 0 … 255 or float in [0, 1].
        class_id: the score to watch; None: the predicted class at ``point``.
        fill: what hides the window: ``mean`` (the ImageNet mean colour), ``black`` or ``noise`` (uniform, the same for
            every window); the maps of several are averaged.
        log: is told the cost before the work starts.

    Raises:
        ValueError: a point outside the image, an unknown fill, or a window that does not fit.
    """
    falls, rows, columns = occlusion_falls(model, image, point, window, stride, class_id, fill, batch_size, log)
    height, width = image.shape[-2:]
    return falls[_nearest(rows, height)[:, None], _nearest(columns, width)[None]]


def occlusion_falls(
    model: nn.Module,
    image: Tensor,
    point: tuple[int, int],
    window: int = 11,
    stride: int = 3,
    class_id: int | None = None,
    fill: str | Sequence[str] = "mean",
    batch_size: int = 64,
    log: Callable[[str], None] | None = print,
) -> tuple[Tensor, list[tuple[int, int]], list[tuple[int, int]]]:
    """The fall of the score for each window, see :func:`occlusion_map`, and the windows' (first, end) rows and columns.

    The windows are captum's: they begin at multiples of ``stride``, and those that reach over the edge are cut.
    """
    row, column = _checked(point, image.shape[-2:])
    fills = (fill,) if isinstance(fill, str) else tuple(fill)
    if not fills or set(fills) - set(FILLS):
        raise ValueError(f"unknown fill {fill!r}; choose of {', '.join(FILLS)}")
    height, width = image.shape[-2:]
    if not 1 <= window <= min(height, width) or stride < 1:
        raise ValueError(f"window {window} and stride {stride} do not fit an image of {width}×{height}")
    if class_id is None:
        class_id = predicted_class(model, image, point)
    rows, columns = _windows(height, window, stride), _windows(width, window, stride)
    image = image.to(_device(model))
    with _evaluating(model), torch.no_grad():
        drop = ChangedTaps(model, image, (row, column), class_id) if hasattr(model, "merge") else None
    field = torch.ones(height, width, dtype=torch.bool) if drop is None else drop.field
    todo = [(i, j) for i, r in enumerate(rows) for j, c in enumerate(columns) if field[slice(*r), slice(*c)].any()]
    if log is not None:
        log(f"{len(rows) * len(columns)} windows, {len(todo)} within the receptive field, {len(fills)} fills: "
            f"{len(todo) * len(fills)} images of {width}×{height}")  # fmt: skip
    falls = torch.zeros(len(rows), len(columns))
    with _evaluating(model), torch.no_grad():
        for name in fills:
            hidden = _filling(name, image)
            for start in range(0, len(todo), batch_size):
                part = todo[start : start + batch_size]
                boxes = [(*rows[i], *columns[j]) for i, j in part]
                if drop is not None:
                    fall = drop(hidden, boxes, window)
                else:
                    # The image itself is in the batch: another batch size may round differently.
                    batch = image.repeat(len(part) + 1, 1, 1, 1)
                    for one, (top, bottom, left, right) in zip(batch, boxes, strict=False):
                        one[:, top:bottom, left:right] = hidden[:, top:bottom, left:right]
                    scores = model(batch)[:, class_id, row, column]
                    fall = scores[-1] - scores[:-1]
                falls[tuple(torch.tensor(part).T)] += fall.float().cpu() / len(fills)
    return falls, rows, columns


def gradient_map(
    model: nn.Module, images: Tensor, point: tuple[int, int] | Sequence[tuple[int, int]], class_id: int | None = None
) -> Tensor:
    """The effective receptive field after Luo et al. (2016): mean absolute gradient of the score by the pixels.

    Args:
        images: (N, 3, H, W), uint8 in 0 … 255 or float in [0, 1].
        point: one point for all images, or one per image; the maps are added in image coordinates as they are.
        class_id: the score to differentiate; None: the predicted class of each image at its point.

    Returns:
        Σ over channels of |∂ score / ∂ pixel|, for pixels in [0, 1], averaged over the images.
    """
    points = [point] * len(images) if np.ndim(point) == 1 else list(point)
    device, total = _device(model), torch.zeros(images.shape[-2:])
    with _evaluating(model), torch.enable_grad():
        for image, place in zip(images, points, strict=True):
            row, column = _checked(place, image.shape[-2:])
            pixels = image.to(device).float() / (255 if image.dtype == torch.uint8 else 1)
            pixels.requires_grad_()
            scores = model(pixels[None])[0, :, row, column]
            score = scores[int(scores.argmax()) if class_id is None else class_id]
            (gradient,) = torch.autograd.grad(score, pixels)
            total += gradient.abs().sum(0).cpu()
    return total / len(images)


def theoretical_field(model: nn.Module, size: tuple[int, int], point: tuple[int, int]) -> Tensor:
    """The pixels that can change the score at ``point`` at all: bool (H, W), exact for the image's borders too.

    For networks of convolutions, pooling, batch norm and ReLU, such as every model of this package.
    """
    row, column = _checked(point, size)
    twin = positive_twin(model)
    pixels = torch.ones(1, 3, *size, dtype=torch.double, requires_grad=True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(twin(pixels)[..., row, column].sum(), pixels)
    return gradient[0].ne(0).any(0)


def square_side(values: Tensor, point: tuple[int, int], share: float) -> int:
    """Side in pixels of the smallest square around ``point`` that holds ``share`` of the mass of |``values``| (H, W).

    The square may reach over the edge of the image; its side is odd. 0 if there is no mass.
    """
    mass = values.abs().double().numpy()
    rows, columns = np.indices(mass.shape)
    distance = np.maximum(abs(rows - point[0]), abs(columns - point[1]))
    within = np.bincount(distance.ravel(), mass.ravel()).cumsum()
    if within[-1] == 0:
        return 0
    return 2 * int(np.searchsorted(within, share * within[-1] * (1 - 1e-12))) + 1


def _windows(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    count = math.ceil((length - window) / stride) + 1
    return [(i * stride, min(i * stride + window, length)) for i in range(count)]


def _nearest(windows: list[tuple[int, int]], length: int) -> Tensor:
    """For each pixel, the window whose centre is nearest, first of all among those that hold the pixel."""
    first, end = (torch.tensor(edge)[None] for edge in zip(*windows, strict=True))
    pixels = torch.arange(length)[:, None]
    distance = (pixels - (first + end - 1) / 2).abs()
    return (distance + length * ((pixels < first) | (pixels >= end))).argmin(1)


def _filling(name: str, image: Tensor) -> Tensor:
    """What the hidden part of ``image`` looks like: (3, H, W) of its type."""
    if name == "black":
        return torch.zeros_like(image)
    if name == "mean":
        colour = torch.tensor(MEAN_COLOUR, device=image.device).view(3, 1, 1).expand_as(image)
    else:
        colour = torch.randint(0, 256, image.shape, generator=torch.Generator().manual_seed(0)).to(image.device)
    return colour.to(image.dtype) if image.dtype == torch.uint8 else colour / 255


def _checked(point: tuple[int, int], size: Sequence[int]) -> tuple[int, int]:
    height, width = size
    row, column = point
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"point {point} is not in an image of {height} rows and {width} columns")
    return row, column


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and convolutions in full float32 on a GPU too: small falls are differences of large scores."""
    was = model.training
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        model.train(was)
