"""How long and how fast a run learns: the schedule as data."""

import math
from dataclasses import dataclass, replace

from gcnlab.errors import UserError, check_name

_CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "decay": ("constant", "cosine", "step"),
    "loss_reduction": ("mean", "sum"),
}


@dataclass(frozen=True)
class Schedule:
    """How one run is optimised.

    Learning rate and loss reduction belong together, so they stand together.

    Args:
        steps: optimisation steps.
        batch_size: images per step.
        optimizer: ``adamw`` or ``sgd``.
        lr: highest learning rate of newly initialised layers.
        backbone_lr: the same for the pre-trained backbone; None: as ``lr``.
        decay: ``constant``, ``cosine`` (to zero) or ``step`` (a tenth after a third, a hundredth
            after two thirds) over the steps after the warm-up.
        warmup: steps of linear increase at the start.
        momentum: of SGD (AdamW keeps its own 0.9, 0.999).
        weight_decay: on all weights.
        loss_reduction: ``mean`` over non-void pixels, or ``sum`` as in FCN's solver.
        caffe_biases: biases learn at twice the rate and have no weight decay, as in FCN's networks.
        evaluations: points of the learning curve, evenly spaced, the last after the last step. They
            draw curves and select nothing.
    """

    steps: int
    batch_size: int
    optimizer: str = "adamw"
    lr: float = 1e-3
    backbone_lr: float | None = None
    decay: str = "cosine"
    warmup: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    loss_reduction: str = "mean"
    evaluations: int = 1
    caffe_biases: bool = False

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            check_name(name, getattr(self, name), allowed)
        if self.steps < 1 or self.batch_size < 1 or not 1 <= self.evaluations <= self.steps:
            raise UserError(
                "steps, batch_size and evaluations must be at least 1, evaluations at most steps"
            )

    def with_head_rate(self, lr: float) -> "Schedule":
        """The same, with ``lr`` for the newly initialised layers alone."""
        backbone_lr = self.lr if self.backbone_lr is None else self.backbone_lr
        return replace(self, lr=lr, backbone_lr=backbone_lr)

    def factor(self, iteration: int) -> float:
        """Learning rate at ``iteration`` (0 … steps − 1) relative to the highest."""
        if iteration < self.warmup:
            return (iteration + 1) / (self.warmup + 1)
        done = (iteration - self.warmup) / max(1, self.steps - self.warmup)
        if self.decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.decay == "step":
            return 0.1 ** int(3 * done)
        return 1.0

    def evaluate_after(self) -> set[int]:
        """Numbers of finished steps after which to evaluate, the last step among them."""
        return {round(self.steps * i / self.evaluations) for i in range(1, self.evaluations + 1)}
