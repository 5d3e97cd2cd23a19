"""What was published: the paper's tables, its claims, and our assumptions where it is silent.

The data are three JSON files beside this one; every other room reads published numbers from here.
"""

import json
from importlib.resources import files
from typing import Any

import pandas as pd

__all__ = ["assumptions", "cells", "claims", "published"]


def _read(name: str) -> Any:
    return json.loads(files(__name__).joinpath(name).read_text(encoding="utf-8"))


def published(table: str | int) -> dict[str, Any]:
    """One table of the paper: title, split, question, source and cells (Table 11 also has rows).

    Raises ValueError for a table that the paper does not have.
    """
    tables = _read("tables.json")
    if str(table) not in tables:
        raise ValueError(f"the paper has no table {table!r}; valid tables: {', '.join(tables)}")
    return tables[str(table)]


def cells(table: str | int) -> pd.DataFrame:
    """The published numbers of one table in long format, one row per number.

    Columns: row, column, metric, value, and where the table compares variants of the segmenter also
    head, k, m_ratio (m / 2048 of a stack) and refine, and Table 6 also backbone. A value that the
    paper leaves empty is NaN.
    miou, boundary_accuracy, internal_accuracy and top5_error are in percent, parameters_k in
    thousands, mflops in millions of multiply-adds.
    """
    flat = []
    for cell in published(table)["cells"]:
        variant = cell.pop("variant", {})
        flat.append(cell | variant)
    frame = pd.DataFrame(flat).astype({"value": float})
    return frame.astype({"k": "Int64", "m_ratio": float}) if "k" in frame else frame


def claims() -> list[dict[str, Any]]:
    """The claims of the text: id, claim, what is compared in short, source, tables that bear on
    it, and a note or ""."""
    return _read("claims.json")


def assumptions() -> list[dict[str, Any]]:
    """Every choice that the paper leaves open: id, question, our choice, its reason and its
    source."""
    return _read("assumptions.json")
