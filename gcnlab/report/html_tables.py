"""Tables of the page: cells that know the records they were computed from."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gcnlab.analysis.tables import METRIC_NAMES
from gcnlab.experiments.records import COMMITTED


class RecordLink(NamedTuple):
    """A record as a cell shows it: the seed as text, name and key as title, its address."""

    seed: str
    title: str
    address: str


class Cell(NamedTuple):
    """What one cell shows, and its records; ``heading`` for the first columns of a row."""

    text: str
    records: tuple[RecordLink, ...] = ()
    heading: bool = False

    @property
    def is_number(self) -> bool:
        return bool(re.match(r"[+−-]?\d", self.text)) and not self.heading


class Table(NamedTuple):
    """Names of the columns, and rows of as many cells."""

    columns: list[str]
    rows: list[list[Cell]]

    @property
    def right(self) -> list[bool]:
        """Which columns are set at the right, as numbers are."""
        return [any(row[i].is_number for row in self.rows) for i in range(len(self.columns))]


def of_frame(frame: pd.DataFrame) -> Table:
    """A frame for reading, its index as headings."""
    flat, levels = frame.reset_index(), frame.index.nlevels
    texts = [["" if pd.isna(v) else str(v) for v in row] for row in flat.itertuples(index=False)]
    rows = [[Cell(text, (), i < levels) for i, text in enumerate(row)] for row in texts]
    return Table(list(map(str, flat.columns)), rows)


def links(page_folder: Path, out: Path) -> dict[str, RecordLink]:
    """Key → link from ``page_folder``, for the records of ``out`` and of the committed studies."""
    known = {}
    for path in sorted([*COMMITTED.glob("*/runs/*.json"), *out.glob("*/runs/*.json")]):
        name, _, key = path.stem.rpartition("-")
        address = os.path.relpath(path, page_folder).replace(os.sep, "/")
        known[key] = RecordLink(name.rpartition("-s")[2], f"{name}, key {key}", address)
    return known


def of_cells(
    shown: pd.DataFrame, frame: pd.DataFrame, labels: dict[str, str], known: dict[str, RecordLink]
) -> Table:
    """A table in the paper's form whose cells link their records.

    Args:
        shown, labels: :func:`gcnlab.analysis.tables.in_paper_form` and what it was given.
        frame: the same table in long form.
        known: key → link; a key without a file is left out.
    """
    table, levels = of_frame(shown), shown.index.nlevels
    sources = {label: source for source, label in labels.items()}
    for index, row in zip(shown.index, table.rows, strict=True):
        at = dict(zip(shown.index.names, index, strict=True))
        source = sources.get(at["source"])
        cells = frame[frame["row"] == at["model"]]
        if "measure" in at:
            cells = cells[cells["metric"].map(METRIC_NAMES) == at["measure"]]
        for i, column in enumerate(shown.columns if source else (), start=levels):
            keys = cells.loc[cells["column"] == column, f"{source}_keys"].sum()
            row[i] = Cell(row[i].text, tuple(known[key] for key in keys or () if key in known))
    return table
