"""What runs will cost before one has started: work, memory, disk, time on a card or measured here.

Networks are counted on the meta device, images officially unless a data root is named; no data is
needed. Time is work over a share of a card's peak (``cards.json``), from low to high.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from gcnlab import data
from gcnlab.data.catalog import HELD_OUT
from gcnlab.evaluation.inference import TestTime, crop_starts
from gcnlab.experiments.building import build_model
from gcnlab.experiments.config import (
    CrfEvaluation,
    Evaluation,
    PreTraining,
    Run,
    Training,
    input_size,
)
from gcnlab.experiments.environment import fixed_threads, pick_device
from gcnlab.experiments.measuring import CURVE_IMAGES, TRAINING_IMAGES
from gcnlab.experiments.probabilities import TUNING_IMAGES
from gcnlab.training import make_step

BACKWARD = 2  # multiply-adds of a backward pass per one of the forward pass
CARDS = json.loads(Path(__file__).with_name("cards.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Network:
    """One training image: multiply-adds forward, bytes kept for backward (float32), weights."""

    multiply_adds: int
    activations: int
    parameters: int


@dataclass(frozen=True)
class Need:
    """What one run needs.

    Args:
        steps, epochs: of its training; 0 if it trains nothing.
        images: looked at in training; forward: passes of one training image's size that measuring
            it takes.
        memory, disk: bytes: weights, gradients, the optimiser's state and what backward keeps of a
            batch in float32; what stays on disk, its checkpoints left out.
    """

    run: Run
    network: Network
    steps: int
    epochs: float
    images: int
    forward: float
    memory: int
    disk: int

    def hours(self, card: str) -> tuple[float, float]:
        """From low to high, on one ``card`` of ``cards.json``; a CRF computes on the CPU: 0."""
        of, batch = CARDS[card], self.images // max(1, self.steps)
        shares = of["share_at_batches" if batch != 1 else "share_at_batch_one"]
        work = 2 * self.network.multiply_adds * (self.images * (1 + BACKWARD) + self.forward)
        least = self.steps * of["least_step"]
        low, high = (max(least, work / (of["peak_tflops"] * 1e12 * s)) / 3600 for s in shares[::-1])
        return low, high


@cache
def _network(run: PreTraining | Training) -> Network:
    """Counted by one forward pass on the meta device; ``run`` without what changes no count."""
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.device("meta"):
        model, image = build_model(run).train(), torch.empty(1, 3, *input_size(run))
        counter = FlopCounterMode(display=False)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), counter:
            scores = model(image)
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    activations = sum(size for storage, size in saved.items() if storage not in own)
    parameters = sum(p.numel() for p in model.parameters())
    return Network(counter.get_total_flops() // 2, activations + 2 * 4 * scores.numel(), parameters)


def network(run: Run) -> Network:
    """The costs of the network of ``run``."""
    model = run if isinstance(run, PreTraining) else run.training
    plain = {"profile": "", "seed": 0, "schedule": None}
    if isinstance(model, Training):
        plain |= {"start": None, "label": "", "test_time": None}
    return _network(replace(model, **plain))


def _looks(run: Training | Evaluation) -> float:
    """Training images' worth of pixels in all views of one validation image."""
    how, own = run.test_time or TestTime(), input_size(run)
    height, width = run.data.for_validation.canvas
    pixels = 0
    for scale in how.scales:
        sides = [max(1, round(side * scale)) for side in (height, width)]
        crop = how.crop or max(sides)
        views = [len(crop_starts(side, crop, how.stride or crop)) for side in sides]
        pixels += views[0] * views[1] * min(crop, sides[0]) * min(crop, sides[1])
    return (1 + how.flip) * pixels / (own[0] * own[1])


def need(run: Run, data_root: Path | None = None) -> Need:
    """What ``run`` needs, the runs that it starts from left out."""
    counts = run.data.source.official_counts
    if data_root is not None and run.data.source.default_root is None:
        counts = data.counts(run.data, data_root)
    elif run.data.holdout:
        held_out = math.ceil(counts["train"] / HELD_OUT)
        counts = {"train": counts["train"] - held_out, "val": held_out}
    train, val = run.data.images or counts["train"], counts["val"]
    costs = network(run)
    if isinstance(run, Evaluation | CrfEvaluation):
        looked_at, disk = 0.0, 0
        if isinstance(run, Evaluation):
            images, (height, width) = val + TUNING_IMAGES, run.data.canvas
            looked_at = images * _looks(run)
            disk = 2 * images * len(run.data.class_names) * height * width
        memory = 4 * costs.parameters
        return Need(run, costs, 0, 0.0, 0, looked_at, memory, disk)
    schedule = run.schedule
    images = schedule.steps * schedule.batch_size
    looked_at = schedule.evaluations * min(CURVE_IMAGES, val) + val
    if isinstance(run, Training):
        looked_at = (looked_at + min(TRAINING_IMAGES, train)) * _looks(run)
    states = 3 + (schedule.optimizer == "adamw")  # weights, gradients, one moment or two
    memory = 4 * states * costs.parameters + schedule.batch_size * costs.activations
    return Need(run, costs, schedule.steps, images / train, images, looked_at, memory,
                4 * costs.parameters)  # fmt: skip


def measured_step(run: PreTraining | Training, steps: int = 3) -> float:
    """Median seconds of a training step of ``run`` on this machine, on made-up images."""
    with fixed_threads():
        step = make_step(build_model(run), len(run.data.class_names), run.schedule, pick_device())
        size = input_size(run)
        images = torch.randint(256, (run.schedule.batch_size, 3, *size), dtype=torch.uint8)
        labels = torch.zeros(len(images), *size, dtype=torch.uint8)
        if isinstance(run, PreTraining):
            labels = labels[:, 0, 0].long()
        seconds = []
        for _ in range(1 + step.EAGER_STEPS + steps):
            started = time.perf_counter()
            float(step(images, labels))  # waits for the GPU
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[-steps:])


def makespan(needs: Sequence[Need], hours: Callable[[Need], float], gpus: int) -> float:
    """Hours until all are finished on ``gpus`` cards: in order, each once its start is there."""
    waiting, free, finished = list(needs), [0.0] * gpus, {}
    while waiting:
        now, pending = min(free), {each.run for each in waiting}
        card = free.index(now)
        for each in waiting:
            start = each.run.start
            if start not in pending and finished.get(start, 0.0) <= now:
                waiting.remove(each)
                finished[each.run] = free[card] = now + hours(each)
                break
        else:  # the card idles until the next run ends
            free[card] = min(end for end in finished.values() if end > now)
    return max(finished.values(), default=0.0)
