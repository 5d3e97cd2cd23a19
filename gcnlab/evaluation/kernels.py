"""How much of a dense k×k kernel a GCN of the same k could hold."""

import torch
from torch import Tensor


def _nearest_branch(kernel: Tensor, channels: int, vertical_first: bool) -> Tensor:
    """The kernel of one GCN branch with ``channels`` inner channels nearest to (O, I, k, k).

    A branch k×1 → 1×k has Σ_c b[o, c, x] a[c, i, y]: a matrix of rank ``channels`` from (i, y) to
    (o, x).
    """
    order = (1, 2, 0, 3) if vertical_first else (1, 3, 0, 2)
    arranged = kernel.permute(order)
    u, s, v = torch.linalg.svd(arranged.flatten(2).flatten(0, 1), full_matrices=False)
    low_rank = (u[:, :channels] * s[:channels]) @ v[:channels]
    return low_rank.view(arranged.shape).permute(*(order.index(i) for i in range(4)))


def gcn_share(kernel: Tensor) -> float:
    """Share in [0, 1] of the squared norm of ``kernel`` (O, I, k, k) that GCN's form can have.

    GCN's form is the sum of two branches of rank O (Fig. 4A), fitted in turn. A lower bound; nearly
    1 for the kernel of any GCN.
    """
    kernel = kernel.detach().double()
    other = torch.zeros_like(kernel)
    for _ in range(20):
        one = _nearest_branch(kernel - other, len(kernel), vertical_first=True)
        other = _nearest_branch(kernel - one, len(kernel), vertical_first=False)
    return 1 - float((kernel - one - other).square().sum() / kernel.square().sum())


def spectrum(kernel: Tensor) -> Tensor:
    """Singular values of ``kernel`` (O, I, k, k) as a map from (i, y) to (o, x), descending.

    Relative to the largest. Of one branch of a GCN only as many as it has inner channels are not 0.
    """
    matrix = kernel.detach().double().permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    values = torch.linalg.svdvals(matrix)
    return values / values[0]
