"""One run in many processes, started by torchrun: each has a part of every batch, all sum up.

The sums are those of one process with the whole batch, up to rounding: of the loss, the gradients,
and the statistics of batch norm.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

LONGEST_WAIT = timedelta(days=7)  # the others wait while the first evaluates alone


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun has started, if it has; each gets the GPU of its number."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    on_gpu = torch.cuda.is_available() and os.environ.get("GCNLAB_DEVICE") != "cpu"
    if on_gpu:
        os.environ["GCNLAB_DEVICE"] = device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def part() -> tuple[int, int]:
    """Number of this process, and how many there are: (0, 1) without torchrun."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return part()[0] == 0


def barrier() -> None:
    """Wait for all processes."""
    if part()[1] > 1:
        dist.barrier()


def gathered(value: Any) -> list[Any]:
    """The ``value`` of every process, in their order."""
    values = [value] * part()[1]
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def summed(value: Tensor) -> Tensor:
    """Sum over all processes, without gradient."""
    if part()[1] > 1:
        value = value.detach().clone()
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes, in one message."""
    if part()[1] > 1:
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, own in zip(gradients, total.split(sizes), strict=True):
            gradient.copy_(own.view(gradient.shape))


class _Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on any device (torch's is for GPUs alone)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x if x.dtype == torch.float64 else x.float()
        count = x.numel() // x.shape[1] * part()[1]
        mean = _Summed.apply(values.sum((0, 2, 3))) / count
        values = values - mean[:, None, None]
        variance = _Summed.apply(values.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (values * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronise(model: nn.Module) -> None:
    """Let every batch norm of ``model`` that learns statistics see the images of all processes."""
    if part()[1] > 1:
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SyncedBatchNorm2d
