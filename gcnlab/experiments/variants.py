"""The models that the paper compares, whatever the profile: a cell of a table → a config."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import pandas as pd

from gcnlab.experiments.config import PreTraining, Run
from gcnlab.experiments.profiles import Profile

BACKBONES = ("ResNet50", "ResNet50-GCN")  # the columns of Table 6, in the order of ``Profile.pair``


@dataclass(frozen=True)
class Variant:
    """One model of the paper's tables.

    Args:
        head, k, refine: as :func:`gcnlab.models.build_segmenter` takes them; head None is a
            backbone's pre-training as a classifier (Table 6).
        m_ratio: m of a stack as a share of the top channels (of 2048 in Table 4); None: all of
            them.
        backbone: a column of Table 6, or None for the profile's main backbone.
        protocol, stage: a staged training (``voc`` of Table 7, ``street`` of Table 9) and its row,
            such as ``Stage-2`` or ``Stage-2-MS``.
        lr_divisor: a head on the main backbone learns at the profile's rate over this.

    A stack with k = 3 is one 3×3 convolution, the same network as the trivial convolution: it
    becomes that.
    """

    head: str | None = None
    k: int | None = None
    m_ratio: float | None = None
    refine: bool = False
    backbone: str | None = None
    protocol: str | None = None
    stage: str | None = None
    lr_divisor: int = field(default=1, repr=False)  # younger than the digest of the rules' text

    def __post_init__(self):
        if self.head == "stack" and self.k == 3:
            object.__setattr__(self, "head", "conv")
        if self.head != "stack" or self.m_ratio == 1:
            object.__setattr__(self, "m_ratio", None)
        if self.lr_divisor != 1 and (self.head is None or self.protocol or self.backbone):
            raise ValueError("only a head on the main backbone has a learning rate of its own")

    @classmethod
    def of_cell(cls, row: Any) -> "Variant":
        """The variant of one row of :func:`gcnlab.paper.cells`."""
        values = {field.name: getattr(row, field.name, None) for field in fields(cls)}
        values = {name: value for name, value in values.items() if not pd.isna(value)}
        whole = {name: int(value) for name, value in values.items() if name == "k"}
        return cls(**values | whole | {"refine": bool(values.get("refine"))})

    @property
    def title(self) -> str:
        """What a reader calls it, such as ``GCN 15`` or ``stack 7, m/2``."""
        names = {None: "classifier", "conv1x1": "1×1", "gcn": f"GCN {self.k}",
                 "conv": f"{self.k}×{self.k}", "stack": f"stack {self.k}"}  # fmt: skip
        width = f", m/{1 / self.m_ratio:.0f}" if self.m_ratio else ""
        rate = f", rate/{self.lr_divisor}" if self.lr_divisor != 1 else ""
        return names.get(self.head, f"{self.head} {self.k}") + " + BR" * self.refine + width + rate

    def config(self, profile: Profile, seed: int) -> Run | None:
        """This variant in ``profile``, or None if the profile has no such stage.

        Seed s is that of everything: a pre-training is repeated too, and has the seed of what
        starts from it.
        """
        if self.protocol is not None:
            protocol = profile.protocols.get(self.protocol)
            return protocol and protocol.config(self.stage, self.head, self.refine, seed)
        template = profile.template
        if self.backbone is not None:
            template = profile.pair[BACKBONES.index(self.backbone)]
        start = template.start
        if isinstance(start, PreTraining):
            start = replace(start, seed=seed)
        if self.head is None:
            return start
        m = None if self.m_ratio is None else round(self.m_ratio * profile.top_channels)
        run = replace(template, head=self.head, k=self.k, m=m, refine=self.refine, seed=seed,
                      start=start)  # fmt: skip
        if self.lr_divisor == 1:
            return run
        schedule = run.schedule.with_head_rate(run.schedule.lr / self.lr_divisor)
        return replace(run, schedule=schedule, label=f"rate-over-{self.lr_divisor}")
