"""The training loop, which resumes where an interrupted one stopped.

The learning rate is a pure function of the iteration and the data of an iteration are a function of
(seed, iteration), so that a run that is interrupted and resumed ends with the same weights.
"""

import io
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gcnlab import files
from gcnlab.errors import UserError
from gcnlab.training import distributed
from gcnlab.training.step import Step


class Diverged(RuntimeError):
    """The loss is no longer a finite number; ``history`` is what :func:`train` had so far."""

    def __init__(self, message: str, history: list[dict[str, Any]]):
        super().__init__(message)
        self.history = history


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
        evaluate: called on the model at the schedule's evaluations; its numbers join the history.
        checkpoint: written atomically about every ``checkpoint_seconds`` and at every evaluation.

    Returns:
        ``seconds`` of training over all parts of an interrupted run, and ``history``: one entry per
        evaluation with ``step``, ``loss`` (mean over the steps since the entry before) and the
        numbers of ``evaluate``.

    Raises:
        Diverged: the loss became infinite or nan.
    """
    progress: dict[str, Any] = {"seconds": 0.0, "history": [], "loss": 0.0}
    if checkpoint is not None and checkpoint.exists():
        progress = _resume(step, checkpoint)
        log(f"resuming at step {step.iteration} of {step.schedule.steps}")
    clock = _Clock(step, checkpoint_seconds, progress["seconds"])
    total = torch.tensor(progress["loss"], dtype=torch.float64, device=step.device)
    evaluate_after = step.schedule.evaluate_after()
    for images, labels in batches(step.iteration, step.schedule.steps):
        loss = step(images, labels)
        total += loss
        due = step.iteration in evaluate_after
        if due or clock.report_due():
            log(clock.line(float(loss)))
        if due:  # of several processes all look at the same step, or some would wait for ever
            progress["history"].append(_history_entry(step, float(total), progress["history"]))
            total.zero_()
            if evaluate is not None:
                progress["history"][-1] |= evaluate(step.model)
        save = due or (clock.save_due() and math.isfinite(total))
        if checkpoint is not None and distributed.is_first() and save:
            progress |= {"seconds": clock.seconds(), "loss": float(total)}
            state = {"step": step.state_dict(), "progress": progress}
            clock.saved(lambda state=state: save_atomically(state, checkpoint))
    return {"seconds": clock.seconds(), "history": progress["history"]}


def _history_entry(step: Step, total: float, history: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean loss since the entry before; ``Diverged`` if it is no finite number."""
    if not math.isfinite(total):
        message = f"the loss is {total} after {step.iteration} steps: lower the learning rate"
        raise Diverged(message, history)
    before = history[-1]["step"] if history else 0
    return {"step": step.iteration, "loss": total / (step.iteration - before)}


class _Clock:
    """When to report and to save, and how much time training has taken and will take."""

    def __init__(self, step: Step, checkpoint_seconds: float, before: float):
        self._step, self._before, self._first = step, before, step.iteration
        self._started = self._reported = self._saved = time.monotonic()
        self._pause = self._least_pause = checkpoint_seconds

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def report_due(self) -> bool:
        return time.monotonic() - self._reported > 10

    def line(self, loss: float) -> str:
        self._reported = now = time.monotonic()
        done, steps = self._step.iteration, self._step.schedule.steps
        left = int((now - self._started) / max(1, done - self._first) * (steps - done))
        return f"step {done:>5}/{steps}  loss {loss:8.4f}  {left // 60:02d}:{left % 60:02d} left"

    def save_due(self) -> bool:
        return time.monotonic() - self._saved >= self._pause

    def saved(self, save: Callable[[], None]) -> None:
        """Save; a large model is saved so rarely that it takes at most a twentieth of the time."""
        begun = time.monotonic()
        save()
        self._saved = time.monotonic()
        if self._least_pause > 0:
            self._pause = max(self._least_pause, 20 * (self._saved - begun))


def _resume(step: Step, path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        step.load_state_dict(state["step"])
        return state["progress"]
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds, some of many lines, for a damaged file
        reason = " ".join(repr(error).split())[:200]
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}): delete it to start this run anew"
        ) from None


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write with ``torch.save`` so that ``path`` is always a whole file, the old or the new one."""
    content = io.BytesIO()  # on a full disk, torch's own writer does not say so
    torch.save(state, content)
    with content.getbuffer() as view:
        files.write(view, path)
