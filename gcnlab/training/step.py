"""One optimisation step, the same for every variant and for pre-training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcnlab.errors import UserError
from gcnlab.training import distributed
from gcnlab.training.schedule import Schedule

IGNORE_INDEX = 255  # void pixels; a classifier has no void, and a class 255 of its own


def best_precision(device: torch.device) -> str:
    """``bf16`` where the processor computes in it, else ``float32``.

    That is CUDA since Ampere, and CPUs with AMX or AVX512-BF16; elsewhere it is emulated.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    cpu = torch.cpu
    has_bf16 = cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()
    return "bf16" if device.type == "cpu" and has_bf16 else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which a forward pass runs in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


class _Planes(torch.autograd.Function):
    """Logits as float32 in contiguous class planes, which make the softmax several times faster.

    Their gradient goes back in the layout of the network at once: layouts that differ are slow to
    add.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.dtype = logits.dtype
        return logits.contiguous().float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        layout = torch.channels_last if gradient.ndim == 4 else torch.contiguous_format
        return gradient.to(ctx.dtype, memory_format=layout)


class Step:
    """One optimisation step: ``step(images, labels)`` → loss (a float tensor without gradient).

    Made by :func:`make_step`. Counts its calls in ``iteration`` and sets the learning rate from it.
    On a GPU with AdamW the step is captured as a CUDA graph after ``EAGER_STEPS`` steps: small
    networks are bound by the time that it takes to launch their kernels.
    """

    EAGER_STEPS = 3

    def __init__(self, model: nn.Module, num_classes: int, schedule: Schedule,
                 device: torch.device, precision: str):  # fmt: skip
        distributed.synchronise(model)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.num_classes, self.schedule = num_classes, schedule
        self.device, self.precision = device, precision
        self.iteration = 0
        self.optimizer = self._make_optimizer()
        self._use_graph = (
            device.type == "cuda" and schedule.optimizer == "adamw" and distributed.part()[1] == 1
        )
        self._graph: torch.cuda.CUDAGraph | None = None
        self._side_stream = torch.cuda.Stream(device) if self._use_graph else None

    def _make_optimizer(self) -> torch.optim.Optimizer:
        schedule = self.schedule
        members: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                bias = schedule.caffe_biases and name.endswith(".bias")
                members.setdefault((name.startswith("backbone."), bias), []).append(parameter)
        groups = []
        for (of_backbone, bias), parameters in sorted(members.items(), key=lambda item: item[0]):
            own = of_backbone and schedule.backbone_lr is not None
            highest = (schedule.backbone_lr if own else schedule.lr) * (1 + bias)
            group = {"params": parameters, "highest": highest, "lr": highest}
            groups.append(group | {"weight_decay": 0.0} if bias else group)
        common = {"weight_decay": schedule.weight_decay, "fused": True}
        if schedule.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=schedule.momentum, **common)
        if self.device.type == "cuda":  # a graph reads the rate from memory
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], device=self.device)
            common["capturable"] = True
        return torch.optim.AdamW(groups, **common)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step.

        Args:
            images: (N, 3, H, W) uint8, or float in [0, 1].
            labels: (N, H, W) class ids with 255 = void, or (N,) class ids for a classifier.

        With several processes (:mod:`gcnlab.training.distributed`) each has an equal part of them.
        """
        self.model.train()
        self._set_rate(self.schedule.factor(self.iteration))
        images = images.to(self.device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = labels.to(self.device, non_blocking=True).long()
        if not self._use_graph:
            loss = self._optimise(images, labels)
        elif self.iteration < self.EAGER_STEPS or self._graph is None:
            with torch.cuda.device(self.device):  # streams and graphs are the current one's
                loss = self._warm_up(images, labels)
        else:
            self._images.copy_(images)
            self._labels.copy_(labels)
            self._graph.replay()
            loss = self._loss.clone()
        self.iteration += 1
        return loss

    def _set_rate(self, factor: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["highest"] * factor)
            else:
                group["lr"] = group["highest"] * factor

    def _optimise(self, images: Tensor, labels: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)  # before the forward pass needs memory
        with autocast(self.device, self.precision):
            logits = self.model(images)
        if logits.shape[1] != self.num_classes:
            raise ValueError(f"the model has {logits.shape[1]} classes, not {self.num_classes}")
        logits, reduction = _Planes.apply(logits), self.schedule.loss_reduction
        if labels.ndim == 1:
            loss = F.cross_entropy(logits, labels, reduction=reduction)
            if reduction == "mean":
                loss = loss / distributed.part()[1]
        else:
            loss = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
            if reduction == "mean":  # a batch of void alone has loss 0, not 0 / 0
                loss = loss / distributed.summed((labels != IGNORE_INDEX).sum()).clamp(min=1)
        del logits  # else kept through the backward pass
        loss.backward()
        distributed.sum_gradients(self.model.parameters())
        self.optimizer.step()
        return distributed.summed(loss.detach())

    def _warm_up(self, images: Tensor, labels: Tensor) -> Tensor:
        """An eager step on the side stream, as capturing wants it; after the last, the capture.

        Capturing runs nothing: weights and moments stay as the eager step left them.
        """
        self._side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side_stream):
            loss = self._optimise(images, labels)
        torch.cuda.current_stream().wait_stream(self._side_stream)
        if self.iteration + 1 >= self.EAGER_STEPS:
            self._images, self._labels = images.clone(), labels.clone()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._loss = self._optimise(self._images, self._labels)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: tensors and plain values (loads with ``weights_only``)."""
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
            raise UserError(
                f"the checkpoint was trained in {state['precision']} and this machine uses "
                f"{self.precision}: go on where it was started, or delete the checkpoint"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._use_graph:  # loading has replaced the rates' tensors by ones in main memory
            for group in self.optimizer.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
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
