"""What one score depends on: the valid, the effective and the theoretical receptive field.

Every function takes a segmenter, any module ``(N, 3, H, W) -> (N, classes, H, W)``, and a ``point``
(row, column) of the image, and looks at the score (logit) of one class there. Images are
(3, H, W), uint8 in 0 … 255 or float in [0, 1]; maps are float32 (H, W) on the CPU. A point outside
the image raises ``ValueError``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

Point = Span = tuple[int, int]
MEAN_COLOUR = (124, 116, 104)  # the ImageNet mean, which normalisation turns into 0


def predicted_class(model: nn.Module, image: Tensor, point: tuple[int, int]) -> int:
    """The class with the highest score at ``point`` of ``image``."""
    with _evaluating(model), torch.no_grad():
        scores = model(image[None].to(_device(model)))
        return int(scores[0, :, *_checked(point, image.shape[-2:])].argmax())


def occlusion_map(
    model: nn.Module,
    image: Tensor,
    point: Point,
    window: int = 11,
    stride: int = 3,
    class_id: int | None = None,
    batch_size: int = 16,
    log: Callable[[str], None] | None = print,
) -> Tensor:
    """The valid receptive field after Zhou et al. (2015): occlusion sensitivity.

    A ``window`` × ``window`` square of the mean colour slides over the image in steps of
    ``stride``; the score drop (original − occluded) belongs to the window's centre. Every pixel
    takes the value of the nearest centre among the windows that hide it.

    See :func:`score_drops` for the arguments and errors.
    """
    options = (window, stride, class_id, batch_size, log)
    drops, rows, columns = score_drops(model, image, point, *options)
    nearest = [_nearest(w, n) for w, n in zip((rows, columns), image.shape[-2:], strict=True)]
    return drops[nearest[0][:, None], nearest[1]]


def score_drops(
    model: nn.Module,
    image: Tensor,
    point: Point,
    window: int,
    stride: int,
    class_id: int | None = None,
    batch_size: int = 16,
    log: Callable[[str], None] | None = None,
) -> tuple[Tensor, list[Span], list[Span]]:
    """The score drop of each window, (R, C), and the windows' (first, end) rows and columns.

    See :func:`occlusion_map`. The windows are captum's: they begin at multiples of ``stride``, and
    those that reach over the edge are cut. ``class_id`` None: the predicted class at ``point``.
    ``batch_size``: occluded images at once; more are no faster on a CPU. ``log`` is told the cost
    before the work starts. Raises ``ValueError`` for a window that does not fit.
    """
    height, width = image.shape[-2:]
    row, column = _checked(point, (height, width))
    if not 1 <= window <= min(height, width) or stride < 1:
        windows = f"window {window} and stride {stride}"
        raise ValueError(f"{windows} do not fit an image of {width}×{height}")
    if class_id is None:
        class_id = predicted_class(model, image, point)
    rows, columns = _windows(height, window, stride), _windows(width, window, stride)
    boxes = [(*r, *c) for r in rows for c in columns]
    if log is not None:
        log(f"{len(boxes)} windows: {len(boxes)} images of {width}×{height}")
    image, drops = image.to(_device(model)), []
    hidden = torch.tensor(MEAN_COLOUR, device=image.device).view(3, 1, 1)
    hidden = hidden.to(image.dtype) if image.dtype == torch.uint8 else hidden / 255
    with _evaluating(model), torch.inference_mode():
        for start in range(0, len(boxes), batch_size):
            part = boxes[start : start + batch_size]
            # The image itself is in the batch: another batch size may round differently.
            batch = image.repeat(len(part) + 1, 1, 1, 1)
            for occluded, (top, bottom, left, right) in zip(batch, part, strict=False):
                occluded[:, top:bottom, left:right] = hidden
            batch = batch.contiguous(memory_format=torch.channels_last)
            scores = model(batch)[:, class_id, row, column]
            drops.append((scores[-1] - scores[:-1]).float().cpu())
    return torch.cat(drops).view(len(rows), len(columns)), rows, columns


def gradient_map(
    model: nn.Module, images: Tensor, point: Point | Sequence[Point], class_id: int | None = None
) -> Tensor:
    """The effective receptive field after Luo et al. (2016): mean absolute gradient of the score.

    Σ over channels of |∂ score / ∂ pixel|, for pixels in [0, 1], averaged over ``images``
    (N, 3, H, W). ``point`` is one for all images, or one per image; maps are added in image
    coordinates as they are. ``class_id`` None: the predicted class of each image at its point.
    """
    points = [point] * len(images) if np.ndim(point) == 1 else list(point)
    device, total = _device(model), torch.zeros(images.shape[-2:])
    with _evaluating(model), torch.enable_grad():
        for image, own in zip(images, points, strict=True):
            row, column = _checked(own, image.shape[-2:])
            pixels = image.to(device).float() / (255 if image.dtype == torch.uint8 else 1)
            pixels.requires_grad_()
            scores = model(pixels[None])[0, :, row, column]
            score = scores[int(scores.argmax()) if class_id is None else class_id]
            (gradient,) = torch.autograd.grad(score, pixels)
            total += gradient.abs().sum(0).cpu()
    return total / len(images)


def theoretical_field(model: nn.Module, size: tuple[int, int], point: tuple[int, int]) -> Tensor:
    """The pixels that can change the score at ``point`` at all: bool (H, W), exact at borders too.

    For networks of convolutions, pooling, batch norm and ReLU, such as every model of this package.
    """
    row, column = _checked(point, size)
    positive = _positive_copy(model)
    pixels = torch.ones(1, 3, *size, dtype=torch.double, requires_grad=True)
    with torch.enable_grad():
        score = positive(pixels)[..., row, column].sum()
        (gradient,) = torch.autograd.grad(score, pixels)
    return gradient[0].ne(0).any(0)


def _positive_copy(model: nn.Module) -> nn.Module:
    """A copy in double precision whose gradient is 0 only where nothing depends on the input.

    Every weight is positive, every ReLU open and every maximum a mean.
    """
    copy = deepcopy(model).cpu().double().eval().requires_grad_(False)
    for name, module in list(copy.named_modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.fill_(1 / module.weight[0].numel())
            if module.bias is not None:
                module.bias.fill_(1)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.weight.fill_(1)
            module.bias.fill_(1)
        elif isinstance(module, nn.MaxPool2d):
            shape = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
            copy.set_submodule(name, nn.AvgPool2d(*shape))
    if hasattr(copy, "normalize"):
        copy.normalize = nn.Identity()
    return copy


def square_side(values: Tensor, point: tuple[int, int], share: float) -> int:
    """Side in pixels of the smallest square around ``point`` with ``share`` of |``values``| (H, W).

    The square may reach over the edge of the image; its side is odd. 0 if all values are 0.
    """
    mass = values.abs().double().numpy()
    rows, columns = np.indices(mass.shape)
    distance = np.maximum(abs(rows - point[0]), abs(columns - point[1]))
    within = np.bincount(distance.ravel(), mass.ravel()).cumsum()
    if within[-1] == 0:
        return 0
    return 2 * int(np.searchsorted(within, share * within[-1] * (1 - 1e-12))) + 1


def _windows(length: int, window: int, stride: int) -> list[Span]:
    count = math.ceil((length - window) / stride) + 1
    return [(i * stride, min(i * stride + window, length)) for i in range(count)]


def _nearest(windows: list[tuple[int, int]], length: int) -> Tensor:
    """For each pixel the window with the nearest centre, of those that hold it if any does."""
    first, end = (torch.tensor(edge)[None] for edge in zip(*windows, strict=True))
    pixels = torch.arange(length)[:, None]
    distance = (pixels - (first + end - 1) / 2).abs()
    return (distance + length * ((pixels < first) | (pixels >= end))).argmin(1)


def _checked(point: tuple[int, int], size: Sequence[int]) -> tuple[int, int]:
    (row, column), (height, width) = point, size
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"point {point} is not in an image of {height} rows and {width} columns")
    return row, column


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and full float32 on a GPU too: a drop is a difference of large scores."""
    was_training = model.training
    model.eval()
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        model.train(was_training)
