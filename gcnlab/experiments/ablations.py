"""Ablations of the trivial convolution: why does it get worse as k grows (section 4.1.1)?

Every trivial convolution can express the GCN of the same k. What is lost is lost in training: by
optimisation or by overfitting. Three interventions tell the two apart.
"""

from dataclasses import dataclass, replace

from gcnlab.experiments.config import Training
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.variants import Variant

KS = (3, 5, 7, 9, 15)
LARGEST = KS[-1]
LOW_DATA_KS = (3, 9, 15)
LOW_DATA = {"smoke": 16}  # training images by profile
LOW_DATA_IMAGES = 250  # elsewhere


@dataclass(frozen=True)
class Ablation:
    """A head (``gcn`` or ``conv``) of size k, and what is changed about its training.

    Args:
        low_data: trained on few images.
        start: initialised from the trained ``gcn`` or ``conv`` of the same k, instead of the
            profile's backbone alone: a trivial convolution then holds the very kernel that GCN
            found.
        scaled: ``rate`` (learning rate of the heads divided) or ``decay`` (weight decay multiplied)
            by the growth of the fan-in over k = 3.
    """

    head: str
    k: int
    low_data: bool = False
    start: str | None = None
    scaled: str | None = None

    def config(self, profile: Profile, seed: int) -> Training:
        """The training of this ablation in ``profile``; the plain ones are those of Table 2."""
        plain = Variant(self.head, self.k).config(profile, seed)
        schedule, growth = plain.schedule, self.k**2 / 9
        if self.scaled == "rate":
            schedule = schedule.with_head_rate(schedule.lr / growth)
        elif self.scaled == "decay":
            schedule = replace(schedule, weight_decay=schedule.weight_decay * growth)
        images = LOW_DATA.get(profile.name, LOW_DATA_IMAGES) if self.low_data else None
        start = plain.start
        if self.start is not None:
            start = Variant(self.start, self.k).config(profile, seed)
        return replace(plain, data=replace(plain.data, images=images), schedule=schedule,
                       start=start, label=self._label(images))  # fmt: skip

    def _label(self, images: int | None) -> str:
        parts = (
            f"{images}-images" if images else "",
            f"from-{self.start}" if self.start else "",
            f"scaled-{self.scaled}" if self.scaled else "",
        )
        return "-".join(part for part in parts if part)


ABLATIONS = (
    *(Ablation(head, k) for k in KS for head in ("gcn", "conv")),
    Ablation("conv", LARGEST, start="gcn"),
    Ablation("gcn", LARGEST, start="gcn"),
    Ablation("conv", LARGEST, start="conv"),
    *(Ablation(head, k, low_data=True) for k in LOW_DATA_KS for head in ("gcn", "conv")),
    Ablation("conv", LARGEST, scaled="rate"),
    Ablation("conv", LARGEST, scaled="decay"),
)
