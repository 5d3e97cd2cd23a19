"""Boundary refinement (Fig. 2C)."""

from torch import Tensor, nn


class BoundaryRefinement(nn.Module):
    """``S + R(S)`` with ``R`` = 3×3 convolution → ReLU → 3×3 convolution on the score maps.

    ``(N, channels, H, W)`` → the same. The paper gives no initialisation: normal weights (standard
    deviation 0.01) and zero biases, so that a fresh block is close to the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        first, last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        for conv in (first, last):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        self.residual = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.residual(scores)
