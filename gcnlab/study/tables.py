"""Paper table → the runs that fill it, and back: records → the cells of the table."""

from dataclasses import replace
from typing import Any

import pandas as pd

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.study.experiment import Run
from gcnlab.study.profiles import Profile

TABLES = ("1", "2", "3", "4", "5")


def check_tables(names: list[str]) -> list[str]:
    """``names`` without duplicates; ``UserError`` for one that is no table of this study."""
    for name in names:
        if name not in TABLES:
            raise UserError(f"unknown table {name!r}; choose one of {', '.join(TABLES)}")
    return list(dict.fromkeys(names))


def variant_run(profile: Profile, head: str, k: int | None, m_ratio: float | None, refine: bool, seed: int) -> Run:
    """The run of one variant.

    m is ``m_ratio`` of the profile's own top channels, and left out where that is all of them. A stack with k = 3
    is one 3×3 convolution, the same network as the trivial convolution: it is trained once, under that name.
    """
    m = None
    if head == "stack" and k == 3:
        head = "conv"
    elif head == "stack" and m_ratio != 1:
        m = round(m_ratio * profile.top_channels)
    return replace(profile.template, head=head, k=k, m=m, refine=refine, seed=seed)


def _variant(row: Any) -> dict[str, Any]:
    """head, k, m_ratio and refine of one row of ``paper.cells`` with plain values."""
    return {
        "head": row.head,
        "k": None if pd.isna(row.k) else int(row.k),
        "m_ratio": None if pd.isna(row.m_ratio) else float(row.m_ratio),
        "refine": bool(row.refine),
    }


def table_runs(tables: list[str], profile: Profile, seeds: list[int]) -> list[Run]:
    """The distinct runs that fill ``tables``, all seeds of one variant together, in the tables' order."""
    runs: dict[Run, None] = {}
    for table in check_tables(tables):
        for row in paper.cells(table).itertuples():
            for seed in seeds:
                runs[variant_run(profile, **_variant(row), seed=seed)] = None
    return list(runs)
