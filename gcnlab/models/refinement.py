"""Boundary refinement (Fig. 2C)."""

from torch import Tensor, nn


class BoundaryRefinement(nn.Module):
    """``S + R(S)`` with ``R`` = 3×3 convolution → ReLU → 3×3 convolution on the score maps.

    Shape: ``(N, channels, H, W) -> (N, channels, H, W)``. 9 · channels² weights per convolution
    plus biases. The residual starts small (normal weights, standard deviation 0.01, zero biases),
    so a fresh block is close to the identity; the paper does not give the initialisation.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        for conv in (self.residual[0], self.residual[2]):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, scores: Tensor) -> Tensor:
        return scores + self.residual(scores)
