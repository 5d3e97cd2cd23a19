"""Pictures of what one score depends on: Fig. 3 redrawn, and any point of any image."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from gcnlab.errors import UserError
from gcnlab.evaluation.receptive_field import occlusion_map, predicted_class
from gcnlab.experiments import receptive_fields
from gcnlab.experiments.config import Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.variants import Variant
from gcnlab.report.style import INK, ORANGE, Chart, canvas, styled, wrapped

if TYPE_CHECKING:
    from gcnlab.report.session import Session

SEEN = 0.2  # of the highest score drop (assumption: Zhou et al. give no number)
ENLARGED = 2
Point = tuple[int, int]  # row, column


@dataclass(frozen=True)
class View:
    """One panel: what the score at ``point`` of ``image`` (3, H, W), uint8, depends on.

    ``drop`` (H, W) is how far the score of the class ``watched`` falls under occlusion, ``target``
    maybe the object there, a bool (H, W).
    """

    title: str
    image: Tensor
    point: Point
    watched: str
    drop: Tensor
    target: np.ndarray | None = None

    @property
    def seen(self) -> np.ndarray:
        """The valid receptive field: where the score drop exceeds a fifth of its highest."""
        return (self.drop > max(0.0, SEEN * float(self.drop.max()))).numpy()

    def around_point(self, size: tuple[int, int]) -> "View":
        """The part of this (height, width) around the point."""
        sides = zip(self.point, size, self.drop.shape, strict=True)
        top, left = (min(max(p - n // 2, 0), side - n) for p, n, side in sides)
        part = (..., slice(top, top + size[0]), slice(left, left + size[1]))
        point = (self.point[0] - top, self.point[1] - left)
        target = None if self.target is None else self.target[part]
        return View(self.title, self.image[part], point, self.watched, self.drop[part], target)


@styled
def draw(views: list[View]) -> Chart:
    """Panels as in Fig. 3: what the score depends on is lit, the rest pale."""
    width = min(2.5, 7.6 / len(views))
    highest = max(view.image.shape[1] / view.image.shape[2] for view in views)
    figure, (axes,) = canvas(width * len(views), width * highest + 0.8, columns=len(views))
    for ax, view in zip(axes, views, strict=True):
        pixels = view.image.permute(1, 2, 0).numpy()
        pale = (0.3 * pixels + 0.7 * 225).astype(np.uint8)
        ax.imshow(np.where(view.seen[..., None], pixels, pale), interpolation="nearest")
        if view.target is not None:
            ax.contour(view.target, [0.5], colors=[INK], linewidths=1, linestyles="--")
        if view.seen.any() and not view.seen.all():
            ax.contour(view.seen, [0.5], colors=[ORANGE], linewidths=1.6)
        ax.plot(*view.point[::-1], "o", color="white", markeredgecolor=INK, markersize=6)
        ax.set(xticks=[], yticks=[])
        ax.set_title(wrapped(view.title, 25), size=9)
    names = " / ".join(dict.fromkeys(view.watched for view in views))
    shares = "; ".join(f"{v.title.splitlines()[0]} {100 * v.seen.mean():.0f} %" for v in views)
    dashed = " Dashed: the object." if views[0].target is not None else ""
    caption = (
        f"In full colour: hiding it lowers the score of “{names}” at the dot by more than a fifth "
        f"of the largest score drop.{dashed} One seed, one image."
    )
    return Chart(figure, f"Share of the panel that the score depends on: {shares}.", caption, True)


class Networks:
    """The 1×1 baseline (k = 1) and GCNs of seed 0 of a session, and their views.

    Those that are not trained below the session's folder have random weights.
    """

    def __init__(self, session: "Session"):
        self.profile, self.store = session.profile, session.store
        self._is_trained, self._model = cache(session.is_trained), cache(session.model)

    def _run(self, k: int) -> Training:
        return (Variant("conv1x1") if k == 1 else Variant("gcn", k)).config(self.profile, 0)

    def model(self, k: int) -> torch.nn.Module:
        return self._model(self._run(k)).to(pick_device())

    def trained(self, *ks: int) -> bool:
        """Whether all of these are trained."""
        return all(self._is_trained(self._run(k)) for k in ks)

    def view(
        self, title: str, k: int, image: Tensor, point: Point, window: int | None = None,
        class_id: int | None = None, target: np.ndarray | None = None,
    ) -> View:  # fmt: skip
        """What this network sees at ``point`` of ``image``.

        ``window``: side of the hiding square in pixels. ``class_id``: whose score is watched; None:
        that of the class predicted there.
        """
        model, spec = self.model(k), self.profile.template.data
        window = window or max(1, round(receptive_fields.WINDOW * spec.side))
        stride = max(1, round(receptive_fields.STRIDE * max(image.shape[1:])))  # as many windows
        predicted = predicted_class(model, image, point)
        class_id = predicted if class_id is None else class_id
        drop = occlusion_map(model, image, point, window, stride, class_id, log=None)
        view = View(title, image, point, spec.class_names[class_id], drop, target)
        if target is not None:
            title += f"\nsees {100 * np.mean(view.seen[target]):.0f} % of the object"
        if predicted != class_id:
            title += f"\npredicts {spec.class_names[predicted]}"
        if not self.trained(k):
            title += "\nrandom weights"
        return replace(view, title=title)

    def example(self) -> tuple[Tensor, Point, int, np.ndarray]:
        """Image, point, class and object: the first of middling size that both ends get right."""
        run, fallback = self.profile.template, None
        models = [self.model(k) for k in (1, 15)]
        objects = receptive_fields.objects_to_measure(run, 10, self.store)
        for item in (item for item in objects if item.size_bin == 2):
            image, label = receptive_fields.validation_image(run, item.image, self.store)
            instances, _ = receptive_fields.instances(run, item.image, label, self.store)
            true = int(label[item.point])
            example = image, item.point, true, instances == item.instance
            if all(predicted_class(model, image, item.point) == true for model in models):
                return example
            fallback = fallback or example
        if fallback is None:
            raise UserError("no validation image has an object of middling size")
        return fallback


def figure3(session: "Session") -> list[View]:
    """Fig. 3: the baseline on an image (A) and on it enlarged (B), and GCN on the enlarged one (C).

    Shown is the first validation object of middling size that both networks get right.
    """
    networks = Networks(session)
    image, point, class_id, target = networks.example()
    large = tvf.resize(image, [ENLARGED * side for side in image.shape[1:]], antialias=True)
    large_point = tuple(ENLARGED * p + ENLARGED // 2 for p in point)
    large_target = np.kron(target, np.ones((ENLARGED, ENLARGED), bool))
    enlarged = (large, large_point, None, class_id, large_target)
    shown = [networks.view("A: 1×1 baseline", 1, image, point, None, class_id, target)]
    for k, title in ((1, "B: 1×1, image enlarged"), (15, "C: GCN 15, enlarged")):
        shown.append(networks.view(title, k, *enlarged).around_point(tuple(image.shape[1:])))
    return shown
