"""How models are trained: one step, one loop, for every variant and for pre-training.

The learning rate is a pure function of the iteration and the data of an iteration are a function of (seed,
iteration), so that a run that is interrupted and resumed ends with the same weights as one that is not.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcnlab.errors import UserError

# Part of every run's key. Raise it when a change of models, data preparation, training or evaluation makes the same
# config end with other numbers.
TRAINING_VERSION = 1

IGNORE_INDEX = 255


@dataclass(frozen=True)
class Schedule:
    """How one run is optimised. Learning rate and loss reduction belong together, so they stand together.

    Args:
        steps: optimisation steps.
        batch_size: images per step.
        optimizer: ``adamw`` or ``sgd``.
        lr: highest learning rate of newly initialised layers.
        backbone_lr: the same for the pre-trained backbone; None: as ``lr``.
        decay: ``constant``, ``cosine`` (to zero), ``poly`` ((1 − t)^0.9) or ``step`` (a tenth after a third, a
            hundredth after two thirds) over the steps after the warm-up.
        warmup: steps of linear increase at the start.
        momentum: of SGD (AdamW keeps its own 0.9, 0.999).
        weight_decay: on all weights.
        loss_reduction: ``mean`` over non-void pixels, or ``sum`` as in FCN's solver.
        evaluations: how many times the validation split is scored, evenly spaced, the last after the last step.
            Only the last is the result; the others draw curves and select nothing.
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

    def __post_init__(self):
        for name, allowed in (("optimizer", ("adamw", "sgd")), ("decay", ("constant", "cosine", "poly", "step")),
                              ("loss_reduction", ("mean", "sum"))):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} {getattr(self, name)!r} is unknown; choose one of {', '.join(allowed)}")
        if self.steps < 1 or self.batch_size < 1 or not 1 <= self.evaluations <= self.steps:
            raise UserError("steps, batch_size and evaluations must be at least 1, evaluations at most steps")

    def factor(self, iteration: int) -> float:
        """Learning rate at ``iteration`` (0 … steps − 1) relative to the highest."""
        if iteration < self.warmup:
            return (iteration + 1) / (self.warmup + 1)
        done = (iteration - self.warmup) / max(1, self.steps - self.warmup)
        if self.decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if self.decay == "step":
            return 0.1 ** int(3 * done)
        return (1 - done) ** 0.9 if self.decay == "poly" else 1.0

    def evaluate_after(self) -> set[int]:
        """Numbers of finished steps after which to evaluate before the end."""
        return {round(self.steps * i / self.evaluations) for i in range(1, self.evaluations)}


def best_precision(device: torch.device) -> str:
    """``bf16`` where the processor computes in it (CUDA since Ampere, CPUs with AMX or AVX512-BF16), else ``float32``.

    On a CPU without those instructions bf16 is emulated and slower.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    cpu = torch.cpu
    has_bf16 = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return "bf16" if device.type == "cpu" and has_bf16 else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which a forward pass runs in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


class Step:
    """One optimisation step: ``step(images, labels)`` → loss (a float tensor without gradient).

    Made by :func:`make_step`. Counts its calls in ``iteration`` and sets the learning rate from it.
    """

    def __init__(self, model: nn.Module, num_classes: int, schedule: Schedule, device: torch.device, precision: str):
        self.model = model.to(device, memory_format=torch.channels_last)
        self.num_classes, self.schedule, self.device, self.precision = num_classes, schedule, device, precision
        self.iteration = 0
        backbone, rest = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (backbone if name.startswith("backbone.") else rest).append(parameter)
        backbone_lr = schedule.lr if schedule.backbone_lr is None else schedule.backbone_lr
        groups = [{"params": rest, "highest": schedule.lr}, {"params": backbone, "highest": backbone_lr}]
        groups = [dict(group, lr=group["highest"]) for group in groups if group["params"]]
        if schedule.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(groups, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
        else:
            self.optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (N, 3, H, W) uint8 or float in [0, 1]; labels (N, H, W), or (N,) for a classifier, 255 = void."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest"] * self.schedule.factor(self.iteration)
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        labels = labels.to(self.device, non_blocking=True).long()
        with autocast(self.device, self.precision):
            logits = self.model(images)
        if logits.shape[1] != self.num_classes:
            raise ValueError(f"the model has {logits.shape[1]} classes, not {self.num_classes}")
        # Contiguous class planes make the softmax of channels-last logits several times faster on a CPU.
        loss = F.cross_entropy(logits.contiguous().float(), labels, ignore_index=IGNORE_INDEX, reduction="sum")
        if self.schedule.loss_reduction == "mean":  # a batch of void alone has loss 0, not 0 / 0
            loss = loss / (labels != IGNORE_INDEX).sum().clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.iteration += 1
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and plain values (loads with ``weights_only``)."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "rng": torch.get_rng_state(),
            "precision": self.precision,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken; ``UserError`` if that was with another precision."""
        if state["precision"] != self.precision:
            raise UserError(f"the checkpoint was trained in {state['precision']} and this machine uses "
                            f"{self.precision}: go on where it was begun, or delete the checkpoint")  # fmt: skip
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration = state["iteration"]
        torch.set_rng_state(state["rng"])


def make_step(
    model: nn.Module,
    num_classes: int,
    schedule: Schedule | None = None,
    device: torch.device | str | None = None,
    precision: str | None = None,
) -> Step:
    """The optimisation step that the training loop uses, for a loop or a benchmark of one's own.

    Args:
        schedule: default: constant AdamW at 1e-3.
        device: the model is moved there; default: where it is.
        precision: ``bf16`` (autocast) or ``float32``; default: :func:`best_precision`.
    """
    device = torch.device(device) if device is not None else next(model.parameters()).device
    schedule = schedule or Schedule(steps=1, batch_size=1, decay="constant")
    return Step(model, num_classes, schedule, device, precision or best_precision(device))


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


def train(
    step: Step,
    batches: Callable[[int, int], Iterable[tuple[Tensor, Tensor]]],
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run ``step`` until its schedule ends, resuming from ``checkpoint`` if that file exists.

    Args:
        batches: ``batches(first, last)`` yields the batches of those iterations.
        evaluate: called on the model at the schedule's evaluations before the end; its numbers go into the history.
        checkpoint: written atomically about every ``checkpoint_seconds`` and after every evaluation.

    Returns:
        ``{"seconds": training time over all parts of an interrupted run, "history": [{"step", "loss", …}]}``.

    Raises:
        Diverged: the loss became infinite or nan.
    """
    schedule = step.schedule
    progress: dict[str, Any] = {"seconds": 0.0, "history": []}
    if checkpoint is not None and checkpoint.exists():
        progress = _resume(step, checkpoint)
        log(f"resuming at step {step.iteration} of {schedule.steps}")
    before, first, started = progress["seconds"], step.iteration, time.monotonic()
    saved = reported = started
    pause = checkpoint_seconds
    evaluate_after = schedule.evaluate_after()
    for images, labels in batches(step.iteration, schedule.steps):
        loss = step(images, labels)
        done, now = step.iteration, time.monotonic()
        last = done == schedule.steps
        due = evaluate is not None and done in evaluate_after
        if now - reported > 10 or due or last:
            value = _finite(loss, done)
            left = (now - started) / (done - first) * (schedule.steps - done)
            rate = schedule.lr * schedule.factor(done - 1)
            log(f"step {done:>5}/{schedule.steps}  loss {value:8.4f}  lr {rate:.2e}  {_clock(left)} left")
            reported = now
        if due:
            scores = evaluate(step.model)
            progress["history"].append({"step": done, "loss": float(loss), **scores})
            log("  " + "  ".join(f"{name} {score:.4f}" for name, score in scores.items()))
        if checkpoint is not None and (due or time.monotonic() - saved >= pause):
            _finite(loss, done)
            progress["seconds"] = before + time.monotonic() - started
            begun = time.monotonic()
            save_atomically({"step": step.state_dict(), "progress": progress}, checkpoint)
            saved = time.monotonic()
            if checkpoint_seconds > 0:  # saving a large model takes at most a twentieth of the time
                pause = max(checkpoint_seconds, 20 * (saved - begun))
    progress["seconds"] = before + time.monotonic() - started
    return progress


def _finite(loss: Tensor, done: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise Diverged(f"the loss is {value} after {done} steps: lower the learning rate")
    return value


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _resume(step: Step, path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        step.load_state_dict(state["step"])
        return state["progress"]
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds, some of many lines, for a damaged or foreign file
        reason = " ".join(repr(error).split())[:200]
        raise UserError(f"checkpoint {path} cannot be read ({reason}): delete it to start this run anew") from None


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write with ``torch.save`` so that ``path`` is always a whole file: the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        torch.save(state, work)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
