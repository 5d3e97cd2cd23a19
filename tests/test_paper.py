"""The published data agree with themselves and with the claims."""

import re

import pandas as pd
import pytest

from gcnlab import paper

TABLES = range(1, 12)
ABLATIONS = range(1, 6)
PERCENT = ["miou", "boundary_accuracy", "internal_accuracy", "top5_error"]
VARIANT = ["head", "k", "m_ratio", "refine"]


def value(table, row, column, metric="miou"):
    """The one published number at this place."""
    frame = paper.cells(table)
    hit = frame[(frame["row"] == row) & (frame["column"] == column) & (frame["metric"] == metric)]
    assert len(hit) == 1
    return hit["value"].item()


def series(table, row, metric="miou"):
    """The published numbers of one row, indexed by k."""
    frame = paper.cells(table)
    hit = frame[(frame["row"] == row) & (frame["metric"] == metric) & frame["k"].notna()]
    return hit.set_index("k")["value"]


def ablations():
    return pd.concat([paper.cells(t).assign(table=t) for t in ABLATIONS], ignore_index=True)


# --- shape of the data ---------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_has_one_number_of_a_known_kind(table):
    frame = paper.cells(table)
    assert not frame.duplicated(["row", "column", "metric"]).any()
    assert frame["metric"].isin([*PERCENT, "parameters_k", "mflops"]).all()
    percent = frame.loc[frame["metric"].isin(PERCENT), "value"].dropna()
    assert percent.between(0, 100, inclusive="neither").all()


@pytest.mark.parametrize("table", TABLES)
def test_every_table_introduces_itself(table):
    entry = paper.published(table)
    assert entry == paper.published(str(table))
    assert entry["source"].startswith(f"Table {table}, ")
    assert entry["title"] and entry["split"] and entry["question"].endswith("?")


def test_variants_of_the_ablations_are_well_formed():
    frame = ablations()
    assert set(frame["head"]) == {"conv1x1", "gcn", "conv", "stack"}
    assert (frame["k"].isna() == (frame["head"] == "conv1x1")).all()
    assert (frame["m_ratio"].notna() == (frame["head"] == "stack")).all()
    assert (frame["k"].dropna() % 2 == 1).all(), "the paper uses odd kernels only"
    assert frame["refine"].dtype == bool
    assert set(frame.loc[frame["refine"], "row"]) == {"GCN + BR"}


def test_only_post_processing_without_refinement_is_empty():
    frame = paper.cells(7)
    empty = frame[frame["value"].isna()]
    assert empty["row"].str.contains("MS").all()
    assert set(empty["column"]) == {"Baseline", "GCN"}


# --- numbers against formulas and each other -----------------------------------------------------


def test_widths_of_the_stack_match_their_column():
    for cell in paper.cells(4).query("row == 'Stack'").itertuples():
        assert cell.m_ratio * 2048 == int(cell.column)


def test_column_names_its_kernel():
    for table in (1, 2, 3):
        frame = paper.cells(table).dropna(subset="k")
        assert (frame["k"].astype(str) == frame["column"]).all()


def test_a_variant_has_the_same_numbers_in_every_table():
    groups = ablations().groupby([*VARIANT, "metric"], dropna=False)
    assert (groups["value"].nunique() == 1).all()
    appears = {key: set(group["table"]) for key, group in groups}
    seen = {
        (head, k, metric): tables
        for (head, k, _, _, metric), tables in appears.items()
        if head == "gcn"
    }
    assert seen["gcn", 7, "miou"] == {1, 2, 3, 4}
    assert seen["gcn", 7, "parameters_k"] == {2, 4}


def test_stack_and_dense_convolution_are_one_network_at_k_3():
    assert series(3, "Stack")[3] == series(2, "Conv")[3]


# --- claims against the published numbers --------------------------------------------------------


def test_gains_of_claims_2_and_10():
    base = "Seg. Score (Baseline)"
    gains = {
        2: value(1, "GCN", "15") - value(1, "GCN", "base"),
        10: value(6, base, "ResNet50-GCN") - value(6, base, "ResNet50"),
    }
    text = {c["id"]: c["claim"] for c in paper.claims()}
    for number, gain in gains.items():
        stated = re.search(r"(\d+\.\d) points", text[number]).group(1)
        assert gain == pytest.approx(float(stated))


def test_gain_over_the_smallest_kernel_is_the_one_in_the_note():
    note = next(c["note"] for c in paper.claims() if c["id"] == 2)
    gain = value(1, "GCN", "15") - value(1, "GCN", "3")
    assert f"over k = 3 it is {gain:.1f}" in note


def test_published_orderings_behind_the_claims():
    gcn, conv, stack = series(1, "GCN"), series(2, "Conv"), series(3, "Stack")
    assert gcn.is_monotonic_increasing and gcn.min() > value(1, "GCN", "base")
    assert (gcn[conv.index] > conv).all() and conv.idxmax() == 5
    behind = gcn[stack.index] < stack
    assert list(behind[behind].index) == [5], (
        "the slip in the text: the stack is ahead at k = 5 only"
    )
    narrow = paper.cells(4).query("head == 'stack' and metric == 'miou'").sort_values("m_ratio")
    assert narrow["value"].is_monotonic_increasing


def test_regions_of_table_5():
    change = paper.cells(5).pivot(index="row", columns="metric", values="value")
    by_gcn = change.loc["GCN"] - change.loc["Baseline"]
    by_br = change.loc["GCN + BR"] - change.loc["GCN"]
    assert by_gcn["internal_accuracy"] > by_gcn["boundary_accuracy"] > 0
    assert by_br["boundary_accuracy"] > by_br["internal_accuracy"] > 0


@pytest.mark.parametrize("table", [7, 9])
def test_stages_and_post_processing_never_lower_the_score(table):
    for _, column in paper.cells(table).groupby("column"):
        assert column["value"].dropna().is_monotonic_increasing


@pytest.mark.parametrize("table", [8, 10])
def test_the_paper_leads_its_comparisons(table):
    frame = paper.cells(table)
    assert frame.loc[frame["value"].idxmax(), "row"] == "GCN"


def test_the_two_backbones_differ_only_in_res_4_and_res_5():
    rows = {r["component"]: r for r in paper.published(11)["rows"]}
    assert {n for n, r in rows.items() if r["resnet50"] != r["resnet50_gcn"]} == {"res-4", "res-5"}
    for column in ("resnet50", "resnet50_gcn"):
        blocks = [int(rows[f"res-{n}"][column].rsplit("× ", 1)[1]) for n in (2, 3, 4, 5)]
        assert sum(blocks) * 3 + 2 == 50


# --- claims, assumptions and the loader ----------------------------------------------------------


def test_claims_are_complete_and_point_at_tables():
    claims = paper.claims()
    assert [c["id"] for c in claims] == list(range(1, 22))
    assert len({c["claim"] for c in claims}) == len(claims)
    for claim in claims:
        assert set(claim) - {"published", "tested", "earlier"} == {
            "id",
            "claim",
            "short",
            "source",
            "tables",
            "note",
        }
        assert claim["claim"] and claim["short"] and claim["source"]
        for table in claim["tables"]:
            assert paper.published(table)["cells"]
    assert [c["id"] for c in claims if not c["tables"]] == [13, 21], (
        "receptive fields rest on a figure"
    )


def test_assumptions_are_complete():
    assumptions = paper.assumptions()
    for entry in assumptions:
        assert set(entry) == {"id", "question", "choice", "reason", "source"}
        assert all(text.strip() for text in entry.values())
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry["id"])
    ids = [entry["id"] for entry in assumptions]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("table", [0, 12, "eight", "", None])
def test_unknown_table_names_the_valid_ones(table):
    for read in (paper.published, paper.cells):
        with pytest.raises(ValueError, match="1, 2, .*, 11"):
            read(table)


def test_readers_cannot_change_the_data():
    paper.published(1)["cells"].clear()
    paper.claims().clear()
    paper.assumptions()[0].clear()
    frame = paper.cells(1)
    frame["value"] = 0
    assert (
        value(1, "GCN", "base") > 0 and len(paper.claims()) == 21 and paper.assumptions()[0]["id"]
    )
