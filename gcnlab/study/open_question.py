"""The question that section 4.1.1 leaves open: why does the trivial k×k convolution get worse as k grows?

It contains GCN exactly, so it could do at least as well. Either its many weights fit the training images too closely
(overfitting), or training does not find its good weights (optimisation). The trials tell the two apart.
"""

from dataclasses import dataclass, replace

from gcnlab.study.profiles import Profile
from gcnlab.study.run import Run

FOLDER = "open-question"  # beside the profiles' folders: these runs fill no table of the paper
KS = (3, 5, 7, 9, 15)
FEW = {"shapes": 250, "smoke": 8}  # training images of the small set
LARGEST = KS[-1]


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        head, k: as in a variant.
        few: train on the small set.
        start: ``gcn`` or ``conv``: begin with all weights of that head's finished run with the same k and seed, and
            train as long again. A convolution that begins with GCN's weights computes exactly what that GCN does.
        scaled: ``rate`` (learning rate of the heads divided by k² / 9) or ``decay`` (weight decay times k² / 9): what
            a 3×3 convolution has, for the fan-in of a k×k one.
    """

    head: str
    k: int
    few: bool = False
    start: str | None = None
    scaled: str | None = None

    def run(self, profile: Profile, seed: int) -> Run:
        """This trial on the data of ``profile``; on all of them with nothing changed, a run of the paper's tables."""
        plain = replace(profile.template, head=self.head, k=self.k, seed=seed)
        if self == Trial(self.head, self.k):
            return plain
        schedule, grown = plain.schedule, self.k**2 / 9
        if self.scaled == "rate":
            schedule = replace(schedule, lr=schedule.lr / grown, backbone_lr=schedule.backbone_lr or schedule.lr)
        elif self.scaled == "decay":
            schedule = replace(schedule, weight_decay=schedule.weight_decay * grown)
        return replace(
            plain,
            profile=FOLDER,
            data=replace(plain.data, images=FEW[profile.name]) if self.few else plain.data,
            schedule=schedule,
            weights=plain.weights if self.start is None else Trial(self.start, self.k).run(profile, seed),
            label="-".join(filter(None, (
                f"{FEW[profile.name]}-images" * self.few,
                f"from-{self.start}" if self.start else "",
                f"scaled-{self.scaled}" if self.scaled else "",
                "" if profile.name == "shapes" else profile.name,
            ))),
        )  # fmt: skip


TRIALS = (
    *(Trial(head, k) for k in KS for head in ("gcn", "conv")),
    Trial("conv", LARGEST, start="gcn"),
    Trial("gcn", LARGEST, start="gcn"),
    Trial("conv", LARGEST, start="conv"),
    *(Trial(head, k, few=True) for k in (3, 9, LARGEST) for head in ("gcn", "conv")),
    Trial("conv", LARGEST, scaled="rate"),
    Trial("conv", LARGEST, scaled="decay"),
)


def runs(profile: Profile, seeds: list[int]) -> list[Run]:
    """All trials, seed by seed."""
    return [trial.run(profile, seed) for seed in seeds for trial in TRIALS]
