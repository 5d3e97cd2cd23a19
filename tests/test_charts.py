"""Charts carry the numbers that they are given, say n and what was not run, and stay readable."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from gcnlab.analysis.statistics import Effect
from gcnlab.analysis.tables import SPECS, compare
from gcnlab.experiments import profiles
from gcnlab.report import charts, fields, learning, style
from gcnlab.report.agreement import agreement
from gcnlab.report.gains import differences
from gcnlab.report.words import listed, seeds_text

LABELS = {"study": "study (quick)", "local": "your run (quick)"}
COVERAGE = {  # source → seeds of cell i
    "nothing": {"study": lambda i: 0, "local": lambda i: 0},
    "study": {"study": lambda i: 3, "local": lambda i: 0},
    "local": {"study": lambda i: 0, "local": lambda i: 1},
    "both": {"study": lambda i: 5, "local": lambda i: 1},
    "parts": {"study": lambda i: (i + 1) % 3, "local": lambda i: i % 2},
}


def table(name: str, coverage: str) -> pd.DataFrame:
    """Scores 20 points below the published ones; seed s adds s/10, odd cells add a point more."""
    frame = compare(name, profiles.get("quick"), {"study": [], "local": []})
    for source, seeds in COVERAGE[coverage].items():
        cells = []
        for i, cell in enumerate(frame.itertuples()):
            level = np.nan_to_num(cell.published, nan=60) - 20 + i % 2
            count = 0 if cell.metric == "parameters_k" else seeds(i)
            cells.append({seed: level + seed / 10 for seed in range(count)})
        frame[f"{source}_scores"] = cells
        frame[f"{source}_n"] = [len(cell) for cell in cells]
        frame[f"{source}_mean"] = [np.mean(list(cell.values() or [np.nan])) for cell in cells]
    return frame


def effect(name="GCN 15 − 1×1", published=5.5, mean=7.0, half=1.0, n=5, unit="points") -> Effect:
    return Effect(name, published, mean, mean - half, mean + half, n, unit)


def many_sizes(extra: dict) -> pd.DataFrame:
    rows = [
        {"name": f"k{k}", "k": k, "seed": seed, "theoretical": 40 + k, "bin": place, "size": side}
        | {"from": side - 5, "to": side + 5, "objects": 9 - place}
        | {name: value(k, side) + seed for name, value in extra.items()}
        for k in (1, 3, 5, 7, 9, 15)
        for seed in range(3)
        for place, side in enumerate((8, 18, 30))
    ]
    return pd.DataFrame(rows)


FIELD = many_sizes(dict.fromkeys(("valid50", "valid95", "effective50", "effective95"),
                                 lambda k, side: 10 + k))  # fmt: skip
SIZES = many_sizes(dict.fromkeys(fields.SCORES, lambda k, side: 50 + k * (side - 16) / 8))
CURVES = pd.DataFrame(
    {"variant": f"{head}{k}", "title": f"{head} {k}", "family": head, "head": head, "k": k,
     "m_ratio": None, "refine": False,
     "diverged": head == "stack" and seed == 1, "seed": seed, "step": step, "loss": 2 / step,
     "miou": 40 + step / 100 + (k or 0)}
    for head, k in [("conv1x1", None), *(("gcn", k) for k in (3, 5, 7, 9, 15)), ("stack", 7)]
    for seed in (0, 1) for step in (100, 400, 800)
)  # fmt: skip
REGIONS = pd.DataFrame(
    {"model": model, "distance": distance, "seed": seed,
     "boundary_accuracy": 60 + 4 * place + seed, "internal_accuracy": 90 + place + seed}
    for place, model in enumerate(("Baseline", "GCN", "GCN + BR"))
    for distance in (1.0, 2.0, 3.0) for seed in range(3)
)  # fmt: skip
FIT = pd.DataFrame(
    {"head": head, "k": k, "low_data": low_data, "start": None, "scaled": None, "seed": seed,
     "miou": 70 - (k if head == "conv" else -k) / 5 + seed, "training_miou": 80 + seed}
    for head in ("gcn", "conv") for k in (3, 9, 15) for low_data in (False, True)
    for seed in range(3)
)  # fmt: skip
OTHERS = {
    "agreement": lambda: agreement(
        {"synthetic data": {"GCN 15 − 1×1": effect(),
                                        "GCN 9 − stack 9": effect("", 3.9, 50.0, 2.0)},
         "photographs": {"GCN 15 − 1×1": effect(mean=-1.0, half=3.0, n=3),
                                  "BR": effect("", 0.2, -2.0, 1.0)}}
    ),
    "learning, mIoU": lambda: learning.learning_curves(CURVES, "quick"),
    "learning, loss": lambda: learning.learning_curves(CURVES, "quick", "loss"),
    "boundary distance": lambda: charts.gain_over_distance(REGIONS, "quick", 2.0),
    "fit": lambda: learning.fit_over_k(FIT, "quick"),
    "spectrum": lambda: learning.kernel_spectrum(
        {"GCN": [1 / np.arange(1, 20)] * 3, "trivial": [1 / np.arange(1, 20) ** 2] * 2}, "quick"
    ),
    "fields": lambda: fields.field_over_k(FIELD, "quick"),
    "fields by size": lambda: fields.field_by_size(FIELD, "quick"),
    "gain by size": lambda: fields.gain_by_size(SIZES, "quick"),
}  # fmt: skip
TABLES = [(name, coverage) for name in SPECS for coverage in COVERAGE]


def of_table(name: str, coverage: str) -> style.Chart:
    return getattr(charts, SPECS[name].chart)(table(name, coverage), LABELS)


def shown(figure) -> list[Text]:
    """The texts that a reader sees, after drawing."""
    FigureCanvasAgg(figure).draw()
    hidden = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [text for text in texts if text not in hidden]


def check(chart: style.Chart) -> None:
    """No text below 11 CSS pixels, none cut off or over another, and no empty axes."""
    texts = shown(chart.figure)
    areas = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text, (name, area) in zip(texts, areas, strict=True):
        assert text.get_size() * 96 / 72 >= 11, name
        assert area.x0 >= -1 and area.x1 <= chart.figure.bbox.x1 + 60, name
    touching = {text.get_text() for ax in chart.figure.axes for text in ax.texts}  # at marks
    others = [(name, area.padded(-1)) for name, area in areas if name not in touching]
    assert not [(a, b) for (a, one), (b, two) in combinations(others, 2) if one.overlaps(two)]
    assert all(ax.has_data() for ax in chart.figure.axes)
    assert chart.title and chart.caption and re.search(r"n.=.\d|[Nn]ot run", chart.caption)


@pytest.mark.parametrize(("name", "coverage"), TABLES)
def test_every_table_has_a_readable_chart(name, coverage):
    chart = of_table(name, coverage)
    check(chart)
    assert ("not run" in chart.caption.lower()) or coverage != "nothing"
    for source, words in LABELS.items():
        assert (words in chart.caption) == any(COVERAGE[coverage][source](i) for i in range(9))


@pytest.mark.parametrize("draw", OTHERS.values(), ids=OTHERS)
def test_other_charts_are_readable(draw):
    chart = draw()
    check(chart)
    assert "quick" in chart.caption or draw is OTHERS["agreement"]


@pytest.mark.parametrize(("name", "coverage", "told"), [
    ("1", "study", ["GCN 15 − 1×1 baseline: +6.5 points [+6.5, +6.5]; published +5.5."]),
    ("1", "nothing", ["not run; published +5.5."]),
    ("1", "local", ["(n = 1)"]),
    ("2", "study", ["GCN 9 − dense 9×9 convolution"]),
    ("4", "study", ["GCN 7 − stack, all inner", "GCN 7 − stack, 1/10 of the inner channels"]),
    ("5", "study", [f"GCN − Baseline, accuracy {part}" for part in ("near boundaries", "inside")]),
    ("6", "study", [f"ResNet-GCN − ResNet, mIoU of {of}" for of in ("Baseline", "GCN + BR")]),
    ("7", "study", ["CRF added to GCN + BR"]),
])  # fmt: skip
def test_titles_are_findings_from_the_numbers(name, coverage, told):
    title = of_table(name, coverage).title
    assert all(words in title for words in told) and "published" in title


def test_differences_pair_seeds_and_need_three_for_an_interval():
    row = {"published": 70.0, "study_scores": {0: 50.0, 1: 52.0, 3: 54.0, 4: 9.0}}
    other = {"published": 69.0, "study_scores": {3: 50.0, 1: 49.0, 0: 48.0}}
    gains = differences([("a − b", "", 1, row, other)], ["study"]).set_index("source")
    assert gains.loc["published", "mean"] == 1
    assert list(gains.loc["study", "values"]) == [2, 3, 4] and gains.loc["study", "n"] == 3
    assert gains.loc["study", "low"] < 2 < 4 < gains.loc["study", "high"]  # t with 2 degrees
    del other["study_scores"][0]
    assert np.isnan(differences([("", "", 1, row, other)], ["study"])["low"]).all()


def test_diverged_runs_are_named():
    frame = table("3", "study")
    frame.loc[frame["row"] == "Stack", "study_diverged"] = [0, 0, 2, 0, 0]
    assert "Diverged, not averaged: Stack 7 (2)." in charts.heads_over_k(frame, LABELS).caption
    assert "Left out, as diverged: 1." in learning.learning_curves(CURVES, "quick").caption


def test_a_loss_that_explodes_flattens_no_other_panel():
    grown = CURVES.assign(loss=CURVES["loss"].where(CURVES["head"] != "stack", 1000))
    axes = learning.learning_curves(grown, "quick", "loss").figure.axes
    assert max(ax.get_ylim()[1] for ax in axes) > 900 > 10 > min(ax.get_ylim()[1] for ax in axes)


def test_the_agreement_shows_every_effect_in_points_decided_or_not():
    chart = OTHERS["agreement"]()
    words = {text.get_text() for text in shown(chart.figure)}
    assert {"+7.0", "+50.0", "−1.0", "−2.0", "not run"} <= words
    chart = agreement({"a": {"GCN": effect(), "field": effect("", None, 30.0, unit="px")}})
    assert "field" not in {text.get_text() for text in shown(chart.figure)}, "of another unit"
    for published in ((5.5, None), (None, 5.5)):  # one setting judges by what the paper prints
        columns = {str(i): {"GCN": effect("", p, 7.0)} for i, p in enumerate(published)}
        words = {text.get_text() for text in shown(agreement(columns).figure)}
        assert "+5.5" in words and "not published" not in words


def test_fit_splits_the_change_of_the_trivial_convolution():
    title = learning.fit_over_k(FIT, "quick").title
    assert "−2.4 points: +0.0 in fit to the training images, −2.4 in generalisation" in title


def test_charts_give_the_same_bytes_and_carry_alt_text():
    one, other = of_table("1", "both"), of_table("1", "both")
    assert one.content == other.content and b"<svg" in one.content and b"date" not in one.content
    assert one._repr_html_().count('alt="GCN 15 − 1×1 baseline') == 1
    assert "data:image/svg+xml;base64," in one._repr_html_()


@pytest.mark.parametrize(("values", "words"), [
    ([], "not run"), ([0, 0], "not run"), ([1], "n = 1 seed"), ([3, 0, 5], "n = 3–5 seeds"),
])  # fmt: skip
def test_seeds_text(values, words):
    assert seeds_text(values).replace("\u00a0", " ") == words


def test_few_keeps_both_ends_and_shades_start_with_black():
    assert style.few(range(3, 16, 2)) == [3, 7, 11, 15] and style.few([1, 3]) == [1, 3]
    assert style.few([]) == [] and style.few([7]) == [7]
    colours = style.shades([1, 3, 15])
    assert colours[1] == style.INK and len(set(colours.values())) == 3


def test_names_at_the_edge_keep_apart_and_in_order():
    _, ((ax,),) = style.canvas(4, 3)
    ax.set_ylim(0, 1)
    style.name_ends(ax, [(0.98, "c", "k"), (0.97, "b", "k"), (0.2, "a", "k")], apart=0.1)
    heights = [text.xy[1] for text in ax.texts]
    assert heights == sorted(heights) and np.diff(heights).min() >= 0.1 - 1e-9
    assert heights[0] == pytest.approx(0.2) and heights[-1] <= 1


def test_listed():
    assert [listed(list(words)) for words in ("", "a", "ab", "abc")] == [
        "", "a", "a and b", "a, b and c"
    ]  # fmt: skip
