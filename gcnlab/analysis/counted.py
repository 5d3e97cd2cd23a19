"""Claims about parameters and cost: decided by counting, the same for every profile."""

from dataclasses import dataclass

from gcnlab.analysis.costs import backbone_costs, exact_multiply_adds, exact_parameters
from gcnlab.analysis.judging import CONTRADICTED, SUPPORTED, Need, Outcome
from gcnlab.analysis.scores import Scores


class Counted:
    """A rule that needs no run."""

    def needs(self) -> list[Need]:
        return []


def _word(holds: bool) -> str:
    return SUPPORTED if holds else CONTRADICTED


@dataclass(frozen=True)
class FewerParameters(Counted):
    """At size ``k`` GCN has fewer weights than the dense convolution and the thinnest stack."""

    k: int = 7
    thinnest: float = 210 / 2048

    def judge(self, scores: Scores) -> Outcome:
        heads = (("gcn", None), ("conv", None), ("stack", self.thinnest))
        gcn, conv, stack = (exact_parameters(head, self.k, ratio) for head, ratio in heads)
        return Outcome(_word(gcn < min(conv, stack)), (
            f"weights at 2048 → 21, k = {self.k}: GCN {gcn:,}, dense convolution {conv:,}, "
            f"thinnest stack of Table 4 {stack:,}"
        ))  # fmt: skip


@dataclass(frozen=True)
class SimilarCost(Counted):
    """ResNet50-GCN's parameters and multiply-adds are within ``limit`` of ResNet50's."""

    limit: float

    def judge(self, scores: Scores) -> Outcome:
        resnet, gcn = backbone_costs()
        ratios = [gcn[i] / resnet[i] for i in range(2)]
        return Outcome(_word(all(abs(ratio - 1) <= self.limit for ratio in ratios)), (
            f"parameters {gcn[0] / 1e6:.2f} M against {resnet[0] / 1e6:.2f} M (ratio "
            f"{ratios[0]:.2f}), multiply-adds of convolutions {gcn[1] / 1e6:,.0f} M against "
            f"{resnet[1] / 1e6:,.0f} M (ratio {ratios[1]:.2f}), published 3700 M for both; similar "
            f"means within {100 * self.limit:.0f} %"
        ))  # fmt: skip


@dataclass(frozen=True)
class LinearCost(Counted):
    """GCN costs 2/k of a dense k×k convolution, within ``limit`` of that ratio."""

    ks: tuple[int, ...] = (7, 15, 25)
    limit: float = 0.02

    def judge(self, scores: Scores) -> Outcome:
        cost = exact_multiply_adds
        ratios = {k: cost("gcn", k, None) / cost("conv", k, None) for k in self.ks}
        close = all(abs(ratio * k / 2 - 1) < self.limit for k, ratio in ratios.items())
        listed = ", ".join(f"k = {k}: {r:.3f} (2/k = {2 / k:.3f})" for k, r in ratios.items())
        return Outcome(_word(close), f"multiply-adds, GCN / dense convolution: {listed}")
