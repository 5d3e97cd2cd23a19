"""Exact parameter counts and multiply-adds of a module."""

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module) -> int:
    """Number of weights, trainable or not; buffers do not count."""
    return sum(p.numel() for p in module.parameters())


def count_multiply_adds(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one forward pass on an input of ``input_shape``, batch included.

    Counts convolutions and matrix products, as the paper does ("MFlops (Conv)", Table 11). PyTorch counts a
    multiply-add as two operations. A copy of the module is run on the meta device: nothing is computed.
    """
    module = deepcopy(module).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(input_shape, device="meta"))
    return counter.get_total_flops() // 2
