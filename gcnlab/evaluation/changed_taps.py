"""Scores of images that differ from one known image in a small square each: only what changes is computed.

A square of pixels changes a square of each feature map, the larger the deeper. Each part of the backbone is run on
that square and the cells around it that it reads; all other cells are those of the known image. Of what has changed,
only what the watched score can depend on is followed, and of the score maps only that part is made. All this is exact:
no cell is left out that matters.
"""

from copy import deepcopy
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def positive_twin(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in double precision whose gradient is 0 only where nothing depends on the input.

    Every weight is positive, every ReLU open and every maximum a mean.
    """
    twin = deepcopy(model).cpu().double().eval().requires_grad_(False)
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.fill_(1 / module.weight[0].numel())
            if module.bias is not None:
                module.bias.fill_(1)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.weight.fill_(1)
            module.bias.fill_(1)
        elif isinstance(module, nn.MaxPool2d):
            mean = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            twin.get_submodule(name.rpartition(".")[0]).register_module(name.rpartition(".")[2], mean)
    if hasattr(twin, "normalize"):
        twin.normalize = nn.Identity()
    return twin


_Box = tuple[int, int, int, int]  # top, bottom, left, right


class ChangedTaps:
    """How much one score of a segmenter falls when squares of ``image`` are replaced.

    Args:
        model: a :class:`gcnlab.models.segmenter.Segmenter` in evaluation mode.
        image: (3, H, W), uint8 or float in [0, 1], on the model's device.
        point, class_id: the score to watch.

    Attributes:
        field: the pixels on which the score can depend: bool (H, W).
        needed: the same of each tap, as a box (top, bottom, left, right) around all such cells.
    """

    def __init__(self, model: nn.Module, image: Tensor, point: tuple[int, int], class_id: int):
        self.model, self.parts = model, model.backbone.parts()
        self.size, self.class_id = tuple(image.shape[-2:]), class_id
        self.maps = [self._padded(image)]
        for part in self.parts:
            self.maps.append(part(self.maps[-1]))
        twin, self.steps, self.reach, margins = _structure(model)
        self.field, self.needed, (top, bottom, left, right) = self._needed(twin, point)
        # Of each head only a part of the score map is needed, and for that a part of the tap: boxes in cells.
        self.score_boxes = [(top // s, bottom // s, left // s, right // s) for s in model.backbone.strides]
        self.tap_boxes = [
            (max(0, t - before), min(m.shape[2], b + after), max(0, le - before), min(m.shape[3], r + after))
            for (t, b, le, r), m, (before, after) in zip(self.score_boxes, self.maps[1:], margins, strict=True)
        ]
        self.place = (point[0] - top, point[1] - left)
        self.score = self._score([tap[..., t:b, le:r] for tap, (t, b, le, r) in
                                  zip(self.maps[1:], self.tap_boxes, strict=True)])  # fmt: skip

    def _padded(self, image: Tensor) -> Tensor:
        coarsest = self.model.backbone.strides[-1]
        height, width = self.size
        return F.pad(self.model.normalize(image[None]), (0, -width % coarsest, 0, -height % coarsest))

    def _needed(self, twin: nn.Module, point: tuple[int, int]) -> tuple[Tensor, list[_Box], _Box]:
        """The pixels on which the score can depend, bool (H, W); per tap the box of all such cells; and one box in
        pixels, of whole cells of every tap, that holds the cells of all heads' score maps on which it can depend."""
        pixels = torch.ones(1, 3, *self.size, dtype=torch.double, requires_grad=True)
        with torch.enable_grad():
            taps = twin.taps(pixels)
            scores = [head(tap) for head, tap in zip(twin.heads, taps, strict=True)]
            score = twin.merge(scores)[..., point[0], point[1]].sum()
            gradient, *gradients = torch.autograd.grad(score, [pixels, *taps, *scores])
        boxes = [_box(gradient[0].ne(0).any(0)) for gradient in gradients]
        strides = self.model.backbone.strides
        in_pixels = [[edge * s for edge in box] for box, s in zip(boxes[len(taps) :], strides, strict=True)]
        tops, bottoms, lefts, rights = zip(*in_pixels, strict=True)
        first = (min(edges) // strides[-1] * strides[-1] for edges in (tops, lefts))
        end = (-(-max(edges) // strides[-1]) * strides[-1] for edges in (bottoms, rights))
        (top, left), (bottom, right) = first, end
        return gradient[0].ne(0).any(0), boxes[: len(taps)], (top, bottom, left, right)

    def _score(self, taps: list[Tensor]) -> Tensor:
        """The watched score, (N,), of the parts of the taps that are needed."""
        scores = []
        for head, tap, inner, outer in zip(self.model.heads, taps, self.score_boxes, self.tap_boxes, strict=True):
            top, left = inner[0] - outer[0], inner[2] - outer[2]
            scores.append(head(tap)[..., top : top + inner[1] - inner[0], left : left + inner[3] - inner[2]])
        return self.model.merge(scores)[:, self.class_id, *self.place]

    def __call__(self, hidden: Tensor, boxes: list[_Box], window: int) -> Tensor:
        """The falls (original − changed score), (N,), when each box (top, bottom, left, right) shows ``hidden``.

        Args:
            hidden: (3, H, W) like the image.
            boxes: within the image, at most ``window`` × ``window``.
        """
        before, after = self.maps[0], self._padded(hidden)
        starts = [_clamped([box[i] for box in boxes], 0, before.shape[2 + i // 2] - window) for i in (0, 2)]
        patches = _cut(before, starts, (window, window))
        for patch, (top, bottom, left, right), r, c in zip(patches, boxes, *starts, strict=True):
            patch[:, top - r : bottom - r, left - c : right - c] = after[0, :, top:bottom, left:right]
        taps = []
        for level, part in enumerate(self.parts):
            patches, starts = self._advance(level, part, patches, starts)
            top, bottom, left, right = self.tap_boxes[level]
            tap = self.maps[level + 1][..., top:bottom, left:right].repeat(len(boxes), 1, 1, 1)
            _paste(patches, starts, tap, [[top] * len(boxes), [left] * len(boxes)])
            taps.append(tap)
        return self.score - self._score(taps)

    def _advance(
        self, level: int, part: nn.Module, patches: Tensor, starts: list[list[int]]
    ) -> tuple[Tensor, list[list[int]]]:
        """From the changed squares of one map to those of the next, all squares of one size."""
        known, step, (before, after) = self.maps[level], self.steps[level], self.reach[level]
        out_starts, out_extent, crop_starts, crop_extent = [], [], [], []
        for axis in (0, 1):
            cells = known.shape[2 + axis] // step
            low, high = self.needed[level][2 * axis : 2 * axis + 2]
            # Cell i reads the inputs i·step − before … i·step + after.
            count = min((patches.shape[2 + axis] - 1 + before + after) // step + 1, high - low)
            out = _clamped([-((after - s) // step) for s in starts[axis]], low, high - count)
            ahead, behind = -(-before // step), after // step
            total = min(count + ahead + behind, cells)
            out_starts.append(out)
            out_extent.append(count)
            crop_starts.append([step * s for s in _clamped([o - ahead for o in out], 0, cells - total)])
            crop_extent.append(step * total)
        crops = _cut(known, crop_starts, tuple(crop_extent))
        _paste(patches, starts, crops, crop_starts)
        places = [
            [o - c // step for o, c in zip(*pair, strict=True)] for pair in zip(out_starts, crop_starts, strict=True)
        ]
        changed = part(crops.contiguous(memory_format=torch.channels_last))
        return _cut(changed, places, tuple(out_extent)), out_starts


@lru_cache(maxsize=1)  # of one model many points are looked at, and none of this depends on its weights
def _structure(model: nn.Module) -> tuple[nn.Module, list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """The positive twin of ``model``, the stride and the reach of each part of its backbone, the reach of each head."""
    twin, channels = positive_twin(model), model.backbone.channels
    steps = [coarse // fine for fine, coarse in pairwise((1, *model.backbone.strides))]
    parts = [_reach(*each) for each in zip(twin.backbone.parts(), (3, *channels[:-1]), steps, strict=True)]
    return twin, steps, parts, [_reach(head, c, 1) for head, c in zip(twin.heads, channels, strict=True)]


def _clamped(values: list[int], low: int, high: int) -> list[int]:
    return [min(max(value, low), high) for value in values]


def _box(used: Tensor) -> _Box:
    """Around all that is true in ``used`` (H, W)."""
    rows, columns = used.any(1).nonzero()[:, 0], used.any(0).nonzero()[:, 0]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _paste(patches: Tensor, starts: list[list[int]], maps: Tensor, origins: list[list[int]]) -> None:
    """Write each patch, which lies at ``starts``, into its map, which begins at ``origins``, as far as it reaches."""
    for patch, target, *corner in zip(patches, maps, *starts, *origins, strict=True):
        here, there = [], []
        for axis in (0, 1):
            first = max(corner[axis], corner[axis + 2])
            end = max(first, min(corner[axis] + patch.shape[1 + axis], corner[axis + 2] + target.shape[1 + axis]))
            here.append(slice(first - corner[axis + 2], end - corner[axis + 2]))
            there.append(slice(first - corner[axis], end - corner[axis]))
        target[:, *here] = patch[:, *there]


def _cut(maps: Tensor, starts: list[list[int]], extent: tuple[int, int]) -> Tensor:
    """A rectangle of ``extent`` at each start: from the one map, or from map n for start n. A copy."""
    pairs = list(zip(*starts, strict=True))
    sources = maps.expand(len(pairs), *maps.shape[1:])
    return torch.stack([m[:, r : r + extent[0], c : c + extent[1]] for m, (r, c) in zip(sources, pairs, strict=True)])


def _reach(part: nn.Module, channels: int, step: int) -> tuple[int, int]:
    """How far one output cell of ``part`` reads: cell i the inputs i·step − before … i·step + after, on either axis."""
    reach = []
    for axis in (2, 3):
        cells = 16
        while True:
            shape = [1, channels, 2 * step, 2 * step]
            shape[axis] = cells * step
            pixels = torch.ones(shape, dtype=torch.double, requires_grad=True)
            with torch.enable_grad():
                middle = part(pixels).select(axis, cells // 2).sum()
                (gradient,) = torch.autograd.grad(middle, pixels)
            used = gradient[0].ne(0).any(0).any(3 - axis).nonzero()[:, 0]
            first, last = int(used[0]), int(used[-1])
            if first > 0 and last < cells * step - 1:
                reach.append((cells // 2 * step - first, last - cells // 2 * step))
                break
            cells *= 2
    return max(before for before, _ in reach), max(after for _, after in reach)
