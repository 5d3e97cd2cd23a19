"""Exact parameter counts and multiply-adds of a module, whole or part by part."""

from collections.abc import Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module) -> int:
    """Number of weights, trainable or not; buffers do not count."""
    return sum(p.numel() for p in module.parameters())


def count_multiply_adds(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds of one forward pass on an input of ``input_shape``, batch included.

    Convolutions and matrix products, as the paper counts ("MFlops (Conv)", Table 11); PyTorch
    counts a multiply-add as two. A copy is run on the meta device: nothing is computed.
    """
    return component_costs({"": module}, input_shape)[""].multiply_adds


class Cost(NamedTuple):
    """One part of a network: its output's (height, width), weights, and multiply-adds."""

    output_size: tuple[int, int]
    parameters: int
    multiply_adds: int


def component_costs(
    components: Mapping[str, nn.Module], input_shape: tuple[int, ...]
) -> dict[str, Cost]:
    """The cost of each of ``components``, applied one after the other to ``input_shape``."""
    costs, x = {}, torch.empty(input_shape, device="meta")
    for name, component in components.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = deepcopy(component).to("meta").eval()(x)
        multiply_adds = counter.get_total_flops() // 2
        costs[name] = Cost(tuple(x.shape[-2:]), count_parameters(component), multiply_adds)
    return costs
