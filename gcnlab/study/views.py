"""Pictures of receptive fields: Fig. 3 redrawn, and a view to explore."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from gcnlab import data
from gcnlab.data.readers import read_upright
from gcnlab.data.transforms import resize_long_side
from gcnlab.errors import UserError
from gcnlab.evaluation.objects import innermost_point, object_sizes
from gcnlab.evaluation.receptive_field import occlusion_map, predicted_class
from gcnlab.study import measurements
from gcnlab.study.drawing import ACCENT, INK
from gcnlab.study.experiment import pick_device
from gcnlab.study.run import Run, load_model
from gcnlab.study.series import page, styled
from gcnlab.study.session import Session
from gcnlab.study.variants import Variant

LIT = 0.2  # of the highest fall: what counts as seen (assumption; Zhou et al. give no number)
ENLARGED = 2


@dataclass(frozen=True)
class View:
    """One panel: an ``image`` (3, H, W) uint8, the ``point`` whose score of the class ``watched`` is looked at, its
    ``fall`` (H, W) under occlusion, and maybe the ``target``, the object there as a bool (H, W)."""

    title: str
    image: Tensor
    point: tuple[int, int]
    watched: str
    fall: Tensor
    target: np.ndarray | None = None

    @property
    def seen(self) -> np.ndarray:
        """The valid receptive field: where the fall exceeds a fifth of its highest."""
        return (self.fall > max(0.0, LIT * float(self.fall.max()))).numpy()


def _cut(view: View, size: tuple[int, int]) -> View:
    """The part of ``view`` of this (height, width) around its point."""
    first = [min(max(p - n // 2, 0), m - n) for p, n, m in zip(view.point, size, view.fall.shape, strict=True)]
    rows, columns = (slice(f, f + n) for f, n in zip(first, size, strict=True))
    point = (view.point[0] - first[0], view.point[1] - first[1])
    target = None if view.target is None else view.target[rows, columns]
    return View(view.title, view.image[:, rows, columns], point, view.watched, view.fall[rows, columns], target)


@styled
def draw(views: list[View]) -> Figure:
    """Panels in the style of Fig. 3: what the score depends on is lit, the rest is dark."""
    width = 2.6
    highest = max(view.image.shape[1] / view.image.shape[2] for view in views)
    figure, (axes,) = page(width * len(views), width * highest + 0.7, columns=len(views))
    for ax, view in zip(axes, views, strict=True):
        pixels = view.image.permute(1, 2, 0).numpy()
        dark = (0.35 * pixels + 30).astype(np.uint8)
        ax.imshow(np.where(view.seen[..., None], pixels, dark), interpolation="nearest")
        if view.target is not None:
            ax.contour(view.target, [0.5], colors=["white"], linewidths=0.9, linestyles="--")
        if view.seen.any() and not view.seen.all():
            ax.contour(view.seen, [0.5], colors=[ACCENT], linewidths=1.4)
        ax.plot(*view.point[::-1], "o", color="white", markeredgecolor=INK, markersize=6)
        ax.set(xticks=[], yticks=[])
        ax.set_title(view.title, size=9)
    object_too = "; dashed: the object" * (views[0].target is not None)
    watched = " / ".join(dict.fromkeys(view.watched for view in views))
    figure.supxlabel(f"lit: hiding it lowers the score of “{watched}” at the dot clearly{object_too}", size=8.5)
    return figure


def view(session: Session, title: str, k: int, image: Tensor, point: tuple[int, int], window: int | None = None,
         class_id: int | None = None, target: np.ndarray | None = None) -> View:  # fmt: skip
    """What GCN with this ``k`` (1: the baseline) sees at ``point`` of ``image``; ``UserError`` if it is not trained.

    ``class_id``: whose score is watched; None: the class that the model predicts there. Another prediction is named.
    """
    model, side = _model(session, k), session.profile.template.data.side
    default, stride = (max(1, round(share * side)) for share in (measurements.WINDOW, measurements.STRIDE))
    names, predicted = session.profile.template.data.class_names, predicted_class(model, image, point)
    class_id = predicted if class_id is None else class_id
    fall = occlusion_map(model, image, point, window or default, stride, class_id, log=None)
    found = View(title, image, point, names[class_id], fall, target)
    notes = [] if target is None else [f"it sees {100 * np.mean(found.seen[target]):.0f} % of the object"]
    notes += [f"predicts {names[predicted]}"] if predicted != class_id else []
    return replace(found, title="\n".join([title, ", ".join(notes)])) if notes else found


def _example(session: Session) -> tuple[Tensor, tuple[int, int], int, np.ndarray]:
    """The first object of middling size that both models get right: image, point, class, object."""
    run = session.profile.template
    split, bounds = data.load(run.data, "val", session.data_root), measurements.edges(run)
    models = [_model(session, k) for k in (1, 15)]
    fallback = None
    for index in range(len(split)):
        image, label, (height, width) = split[index]
        image, label = image[:, :height, :width], label[:height, :width].numpy()
        found, _ = measurements.instances(run, index, label, session.data_root)
        for number, size in object_sizes(found).items():
            point = innermost_point(found == number)
            if not bounds[2] <= size < bounds[3] or label[point] == 255:
                continue
            example = image, point, int(label[point]), found == number
            if all(predicted_class(model, image, point) == label[point] for model in models):
                return example
            fallback = fallback or example
    if fallback is None:
        raise UserError("no validation image has an object of middling size")
    return fallback


def figure3(session: Session, path: str | Path | None = None, point: tuple[int, int] | None = None) -> list[View]:
    """Fig. 3: A, the baseline on an image; B, the baseline on the image enlarged; C, GCN on the enlarged image.

    Args:
        path: a picture of the user's; None: the first validation object of middling size that both models get right.
        point: (row, column) of that picture whose score is watched; None: its middle. Watched is the class that the
            baseline predicts there.
    """
    class_id = target = None
    if path is None:
        image, point, class_id, target = _example(session)
    else:
        picture = read_upright(Path(path))
        side = session.profile.template.data.side
        before = picture.size
        picture, _ = resize_long_side(picture, np.zeros(picture.size[::-1], np.uint8), side)
        row, column = point or (before[1] // 2, before[0] // 2)
        if not (0 <= row < before[1] and 0 <= column < before[0]):
            raise UserError(f"point {point} is not in {path}, which has {before[1]} rows and {before[0]} columns")
        point = (row * picture.size[1] // before[1], column * picture.size[0] // before[0])
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        class_id = predicted_class(_model(session, 1), image, point)
    size = [ENLARGED * side for side in image.shape[1:]]
    large = tvf.resize(image, size, antialias=True)
    there = tuple(ENLARGED * p + ENLARGED // 2 for p in point)
    large_target = None if target is None else np.kron(target, np.ones((ENLARGED, ENLARGED), bool))
    where = ((1, "B: 1×1 baseline, image enlarged"), (15, "C: GCN 15, image enlarged"))
    enlarged = [view(session, title, k, large, there, None, class_id, large_target) for k, title in where]
    whole = view(session, "A: 1×1 baseline", 1, image, point, None, class_id, target)
    return [whole, *(_cut(v, tuple(image.shape[1:])) for v in enlarged)]


def explore(session: Session):
    """Choose image, point, k and window, in Jupyter; elsewhere, as in batch, a static picture of some choices."""
    run = session.profile.template
    split = data.load(run.data, "val", session.data_root)

    def show(image: int, row: int, column: int, k: int, window: int) -> Figure:
        pixels, _, (height, width) = split[image]
        pixels = pixels[:, :height, :width]
        place = (min(row, height - 1), min(column, width - 1))
        return draw([view(session, f"k = {k}" if k > 1 else "1×1", k, pixels, place, window)])

    ks = [k for k in (1, 3, 5, 7, 9, 11, 13, 15) if _trained(session, k)]
    side = run.data.side
    if "JPY_SESSION_NAME" in os.environ:  # a Jupyter server is there to answer the widgets
        from ipywidgets import IntSlider, SelectionSlider, interactive

        return interactive(
            show,
            image=IntSlider(0, 0, len(split) - 1),
            row=IntSlider(side // 2, 0, side - 1, continuous_update=False),
            column=IntSlider(side // 2, 0, side - 1, continuous_update=False),
            k=SelectionSlider(options=ks, continuous_update=False),
            window=IntSlider(round(measurements.WINDOW * side), 1, side // 2, continuous_update=False),
        )
    pixels, point, class_id, target = _example(session)
    shown = [k for k in (1, 7, 15) if k in ks]
    names = [f"GCN {k}" if k > 1 else "1×1" for k in shown]
    return draw([view(session, name, k, pixels, point, None, class_id, target)
                 for k, name in zip(shown, names, strict=True)])  # fmt: skip


def _run(session: Session, k: int) -> Run:
    return (Variant("conv1x1") if k == 1 else Variant("gcn", k)).run(session.profile, 0)


def _model(session: Session, k: int) -> torch.nn.Module:
    return load_model(_run(session, k), session.out, session.data_root).to(pick_device())


def _trained(session: Session, k: int) -> bool:
    return session.is_trained(_run(session, k))
