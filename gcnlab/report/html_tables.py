"""Tables of the page: cells that know the records they were computed from."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gcnlab.analysis.tables import METRIC_NAMES
from gcnlab.experiments.records import COMMITTED

_NUMBER = re.compile(r"[+−-]?\d")


@dataclass(frozen=True)
class RecordLink:
    """A record as a cell shows it: the seed as text, name and key as title, its address."""

    seed: str
    title: str
    address: str


@dataclass(frozen=True)
class Cell:
    """What one cell shows, and its records; ``heading`` for the first columns of a row."""

    text: str
    records: tuple[RecordLink, ...] = ()
    heading: bool = False


@dataclass(frozen=True)
class Table:
    """Names of the columns, and rows of as many cells."""

    columns: list[str]
    rows: list[list[Cell]]

    @property
    def right(self) -> list[bool]:
        """Which columns are set at the right, as numbers are."""
        numbers = [
            [bool(_NUMBER.match(c.text)) and not c.heading for c in row] for row in self.rows
        ]
        return [any(column) for column in zip(*numbers, strict=True)] or [False] * len(self.columns)


def of_frame(frame: pd.DataFrame) -> Table:
    """A frame for reading, its index as headings."""
    flat, levels = frame.reset_index(), frame.index.nlevels
    rows = [
        [Cell("" if pd.isna(value) else str(value), (), i < levels) for i, value in enumerate(row)]
        for row in flat.itertuples(index=False)
    ]
    return Table([str(name) for name in flat.columns], rows)


def links(page_folder: Path, out: Path) -> dict[str, RecordLink]:
    """Key → link from ``page_folder``, for the records of ``out`` and of the committed studies."""
    known = {}
    for path in sorted([*COMMITTED.glob("*/runs/*.json"), *out.glob("*/runs/*.json")]):
        name, _, key = path.stem.rpartition("-")
        seed = name.rpartition("-s")[2]
        address = os.path.relpath(path, page_folder).replace(os.sep, "/")
        known[key] = RecordLink(seed, f"{name}, key {key}", address)
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
    sources = {label: source for source, label in labels.items()}
    table = of_frame(shown)
    levels = shown.index.nlevels
    for line, (index, row) in enumerate(zip(shown.index, table.rows, strict=True)):
        place = dict(zip(shown.index.names, index, strict=True))
        source = sources.get(place["source"])
        if source is None:
            continue
        for i, column in enumerate(shown.columns, start=levels):
            cells = frame[(frame["row"] == place["model"]) & (frame["column"] == column)]
            if "measure" in place:
                cells = cells[cells["metric"].map(METRIC_NAMES) == place["measure"]]
            keys = [key for keys in cells[f"{source}_keys"] for key in keys]
            records = tuple(known[key] for key in keys if key in known)
            table.rows[line][i] = Cell(row[i].text, records)
    return table
