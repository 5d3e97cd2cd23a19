"""Paper table → the runs that fill it, and back: records → the cells of the table."""

from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.evaluation import count_multiply_adds, count_parameters
from gcnlab.models import build_head
from gcnlab.study.experiment import Run
from gcnlab.study.profiles import Profile

TABLES = ("1", "2", "3", "4", "5")
PAPER_CHANNELS, PAPER_CLASSES = 2048, 21  # after res-5, VOC


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


def current_records(profile: Profile, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The segmentation records that belong to a table as ``profile`` runs today, of one state of data and code.

    Records of another schedule are stale; if there are several data sets (fingerprints) or code versions, only those
    of the newest record's count, so that no cell averages over different experiments.
    """
    wanted = set(table_runs(list(TABLES), profile, [0]))
    fitting = [r for r in records if replace(_run_of(r), seed=0) in wanted]
    if not fitting:
        return []
    newest = _state(max(fitting, key=lambda record: record["finished"]))
    return [record for record in fitting if _state(record) == newest]


def _state(record: dict[str, Any]) -> tuple[str, int]:
    return record["data"]["fingerprint"], record["training_version"]


def _run_of(record: dict[str, Any]) -> Run:
    try:
        return Run.from_config(record["config"])
    except (UserError, ValueError) as error:
        raise UserError(f"record {record['name']}-{record['key']}.json: {error}; delete it, or use the version of "
                        "gcnlab that wrote it") from None  # fmt: skip


def variant_records(records: list[dict[str, Any]]) -> dict[Run, list[dict[str, Any]]]:
    """Records by variant: the run with seed 0 → one record per seed, by seed."""
    found: dict[Run, dict[int, dict[str, Any]]] = {}
    for record in sorted(records, key=lambda record: record["finished"]):
        run = _run_of(record)
        found.setdefault(replace(run, seed=0), {})[run.seed] = record
    return {run: [seeds[seed] for seed in sorted(seeds)] for run, seeds in found.items()}


def _paper_head(head: str, k: int | None, m_ratio: float | None) -> torch.nn.Module:
    m = None if m_ratio is None else round(m_ratio * PAPER_CHANNELS)
    with torch.device("meta"):
        return build_head(head, PAPER_CHANNELS, PAPER_CLASSES, k, m)


def exact_parameters(head: str, k: int | None, m_ratio: float | None) -> int:
    """Weights of one head at the paper's size, 2048 → 21, as in Tables 2 and 4."""
    return count_parameters(_paper_head(head, k, m_ratio))


def exact_multiply_adds(head: str, k: int | None, m_ratio: float | None) -> int:
    """Multiply-adds of one head at the paper's size: 2048 → 21 on a 16×16 map (a 512-pixel image)."""
    return count_multiply_adds(_paper_head(head, k, m_ratio), (1, PAPER_CHANNELS, 16, 16))


def complexity() -> pd.DataFrame:
    """Parameters and multiply-adds of every head in Tables 1–5, with the published count where there is one.

    Columns: variant, head, k, m, parameters, published_k (thousands, nan if not published), multiply_adds.
    """
    rows: dict[tuple, dict[str, Any]] = {}
    for table in TABLES:
        for row in paper.cells(table).itertuples():
            variant = _variant(row)
            refine = variant.pop("refine")
            if refine:
                continue
            published = row.value if row.metric == "parameters_k" else float("nan")
            known = rows.setdefault(tuple(variant.values()), {"published_k": float("nan")})
            if not pd.isna(published):
                known["published_k"] = published
    out = []
    for (head, k, m_ratio), known in rows.items():
        m = None if m_ratio is None else round(m_ratio * PAPER_CHANNELS)
        name = " ".join(p for p in (head, f"k={k}" if k else "", f"m={m}" if m and k != 3 else "") if p)
        counts = {"parameters": exact_parameters(head, k, m_ratio), "published_k": known["published_k"],
                  "multiply_adds": exact_multiply_adds(head, k, m_ratio)}  # fmt: skip
        out.append({"variant": name, "head": head, "k": k, "m": m, **counts})
    return pd.DataFrame(out).astype({"k": "Int64", "m": "Int64"})


def compare(table: str, profile: Profile, study: list[dict[str, Any]], local: list[dict[str, Any]]) -> pd.DataFrame:
    """One paper table beside its reproduction, one row per published number.

    Columns: those of :func:`gcnlab.paper.cells` with ``published`` for ``value``, and mean, std (n ≥ 2) and n over
    seeds of the committed ``study`` and of the user's ``local`` records. Scores in percent; ``parameters_k`` is an
    exact count at the paper's size in thousands, the same for every profile. What was not run is nan with n = 0.
    """
    frame = paper.cells(table).rename(columns={"value": "published"})
    sources = {"study": variant_records(study), "local": variant_records(local)}
    for source, found in sources.items():
        summaries = []
        for row in frame.itertuples():
            variant = _variant(row)
            if row.metric == "parameters_k":
                count = exact_parameters(variant["head"], variant["k"], variant["m_ratio"])
                summaries.append((count / 1000, float("nan"), 0))
                continue
            group = found.get(variant_run(profile, **variant, seed=0), [])
            values = pd.Series([record["metrics"][row.metric] for record in group], dtype=float) * 100
            summaries.append((values.mean(), values.std(), len(values)))
        frame[[f"{source}_mean", f"{source}_std", f"{source}_n"]] = pd.DataFrame(summaries, index=frame.index)
    return frame.astype({"study_n": int, "local_n": int})
