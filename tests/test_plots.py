"""The figures carry the numbers they are given, name the profile, and survive whatever was not run."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from gcnlab.data.shapes import CLASSES, PALETTE
from gcnlab.study import pictures, plots, profiles, step_plots
from gcnlab.study.tables import compare

PROFILE = "shapes"
FIGURES = [
    (plots.score_over_k, "1"),
    (plots.score_over_k, "2"),
    (plots.score_over_k, "3"),
    (plots.gain_over_baseline, "1"),
    (plots.score_over_m, "4"),
    (step_plots.boundary_internal, "5"),
    (step_plots.backbone_pair, "6"),
    (step_plots.stages, "7"),
    (step_plots.stages, "9"),
    (plots.published_against_reproduced, "12345"),
]
NOTHING = {"study": lambda i: 0, "local": lambda i: 0}
COVERAGE = {  # source → the number of runs of cell i
    "nothing": NOTHING,
    "study": NOTHING | {"study": lambda i: 1 + 2 * (i % 2)},
    "local": NOTHING | {"local": lambda i: 1},
    "both": {"study": lambda i: 3, "local": lambda i: 1},
    "parts": {"study": lambda i: (i + 1) % 3, "local": lambda i: i % 2},
}


def table(tables: str, coverage: str = "study") -> pd.DataFrame:
    """Like `tables.compare`: scores near 50 that follow the published ones, differently for the two sources."""
    frame = pd.concat([compare(t, profiles.get(PROFILE), [], []) for t in tables], ignore_index=True)
    is_count = (frame["metric"] == "parameters_k").to_numpy()
    for source, offset in (("study", 20), ("local", 20.5)):
        n = np.array([COVERAGE[coverage][source](i) for i in range(len(frame))]) * ~is_count
        mean = (frame["published"].fillna(60) - offset * ~is_count + np.arange(len(frame)) % 2).abs()
        frame[f"{source}_mean"] = mean.where((n > 0) | is_count)
        frame[f"{source}_std"] = np.where(n >= 2, 0.4, np.nan)
        frame[f"{source}_n"] = n
    return frame


def sensitivity(seeds: int) -> pd.DataFrame:
    rows = [
        (model, distance, seed, 40 + distance + seed, 90 - distance)
        for model in ("Baseline", "GCN", "GCN + BR")
        for distance in (3, 5, 7)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["model", "distance", "seed", "boundary_accuracy", "internal_accuracy"])


def curves(names: list[str]) -> pd.DataFrame:
    rows = [(n, seed, step, 30 + step / 100 + 2 * seed) for n in names for seed in (0, 1) for step in (200, 400)]
    return pd.DataFrame(rows, columns=["name", "seed", "step", "miou"])


def shown(figure) -> list[Text]:
    """The texts that a reader sees, after drawing."""
    FigureCanvasAgg(figure).draw()
    hidden = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        for label in (tick.label1, tick.label2)
        if not (
            label.get_visible() and min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        )
    }
    texts = figure.findobj(lambda a: isinstance(a, Text) and a.get_visible() and a.get_text().strip())
    return [text for text in texts if text not in hidden]


def words(figure) -> str:
    return "\n".join(text.get_text() for text in shown(figure))


def check_layout(figure) -> None:
    """No text is smaller than 8 points, leaves the page or covers another."""
    areas = [(text.get_text(), text.get_size(), text.get_window_extent()) for text in shown(figure)]
    for name, size, area in areas:
        assert size >= 8, name
        assert area.x0 >= 0 and area.y0 >= 0, name
        assert area.x1 <= figure.bbox.x1 and area.y1 <= figure.bbox.y1, name
    assert not [(a, b) for (a, _, one), (b, _, other) in combinations(areas, 2) if one.overlaps(other)]


def error_bars(ax) -> int:
    return sum(len(artist.get_segments()) for artist in ax.collections if isinstance(artist, LineCollection))


def series(ax) -> list[list[float]]:
    """The y data of the lines with markers (not of caps and horizontal rules)."""
    return [list(line.get_ydata()) for line in ax.lines if line.get_marker() in ("o", "s")]


@pytest.mark.parametrize("coverage", COVERAGE)
@pytest.mark.parametrize(("draw", "tables"), FIGURES)
def test_every_coverage(draw, tables, coverage):
    figure = draw(table(tables, coverage), PROFILE)
    check_layout(figure)
    text = words(figure)
    assert PROFILE in text
    incomplete = coverage == "nothing" or (coverage == "parts" and tables != "12345")
    assert ("not run" in text) == incomplete
    # The overview ranks one source: the user's run, or the study if there is none.
    shown = {"study": {"study"}, "local": {"local"}, "both": {"study", "local"}, "parts": {"study", "local"}}
    sources = {"local"} if tables == "12345" and "local" in shown.get(coverage, ()) else shown.get(coverage, set())
    assert bool(re.search(r"reproduced on shapes \(n = (1–2|1–3|3)\)", text)) == ("study" in sources)
    if coverage in ("local", "both"):
        assert "your run on shapes (n = 1)" in text


@pytest.mark.parametrize(("draw", "tables"), FIGURES)
def test_no_rows(draw, tables):
    assert "not run" in words(draw(table(tables)[:0], PROFILE))


def test_score_over_k_draws_the_numbers():
    frame = table("2", "both")
    scores = frame[frame["metric"] == "miou"]
    left, right = plots.score_over_k(frame, PROFILE).axes
    gcn, conv = (scores[scores["row"] == row] for row in ("GCN", "Conv"))
    assert series(left) == [list(gcn["published"]), list(conv["published"])]
    assert series(right) == [list(part[f"{s}_mean"]) for s in ("study", "local") for part in (gcn, conv)]
    assert list(left.lines[0].get_xdata()) == [3, 5, 7, 9] == list(left.get_xticks())
    assert np.ptp(left.get_ylim()) == pytest.approx(np.ptp(right.get_ylim()))
    study, *_, local = (line for line in right.lines if line.get_marker() == "o")
    assert study.get_markerfacecolor() != "white" and study.get_linestyle() == "-"
    assert local.get_markerfacecolor() == "white" and local.get_linestyle() == ":"


def test_error_bars_need_two_seeds():
    frame = table("1")
    frame["study_std"] = 0.4  # also where n = 1, which must not be believed
    left, right = plots.score_over_k(frame, PROFILE).axes
    gcn = frame[frame["head"] == "gcn"]
    assert error_bars(left) == 0
    assert error_bars(right) == (gcn["study_n"] >= 2).sum() == 4
    frame["study_n"] = 1
    figure = plots.score_over_k(frame, PROFILE)
    assert error_bars(figure.axes[1]) == 0 and "± std" not in words(figure)


def test_baseline_is_a_labelled_rule():
    frame = table("1")
    figure = plots.score_over_k(frame, PROFILE)
    rules = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in rules] == list(
        frame.loc[frame["column"] == "base", ["published", "study_mean"]].iloc[0]
    )
    assert words(figure).count("1×1 baseline") == 2


def test_names_of_equal_lines_do_not_cover_each_other():
    frame = pd.concat([table("1")[:1], table("2")], ignore_index=True)
    frame["study_mean"] = 12.0
    check_layout(plots.score_over_k(frame, PROFILE))


def test_missing_cells_are_named():
    frame = table("3")
    frame.loc[(frame["row"] == "Stack") & frame["column"].isin(["9", "11"]), ["study_mean", "study_n"]] = np.nan, 0
    assert "not run: Stack 9, 11" in words(plots.score_over_k(frame, PROFILE))


def test_gain():
    frame = table("1")
    ax = plots.gain_over_baseline(frame, PROFILE).axes[0]
    published, study = series(ax)
    assert published == pytest.approx([1.1, 2.1, 3.8, 4.4, 4.7, 5.0, 5.5])
    assert study == pytest.approx(list(frame["study_mean"][1:] - frame["study_mean"][0]))
    assert error_bars(ax) == 0  # the baseline has one seed
    frame["study_n"], frame["study_std"] = 3, 0.3
    bars = [a for a in plots.gain_over_baseline(frame, PROFILE).axes[0].collections if isinstance(a, LineCollection)]
    assert np.ptp(bars[0].get_segments()[0][:, 1]) == pytest.approx(2 * 0.3 * np.sqrt(2))


def test_gain_without_baseline():
    frame = table("1")
    frame.loc[0, ["study_mean", "study_n"]] = np.nan, 0
    assert "baseline not run" in words(plots.gain_over_baseline(frame, PROFILE))


def test_score_over_m():
    frame = table("4", "both")
    left, right = plots.score_over_m(frame, PROFILE).axes
    scores = frame[frame["metric"] == "miou"]
    assert [bar.get_height() for bar in left.patches] == list(scores["published"])
    assert [bar.get_height() for bar in right.patches] == [*scores["study_mean"], *scores["local_mean"]]
    assert left.get_ylim()[0] == 0 and left.get_ylim() == right.get_ylim()
    assert left.get_xticklabels()[0].get_text() == "Stack\nm = 2048\n75,885K"


def test_boundary_internal():
    frame = table("5", "both")
    figure = step_plots.boundary_internal(frame, PROFILE)
    text = words(figure)
    for step in ("+0.2", "+1.9", "+1.1", "+0.1", "+5.5"):
        assert step in text
    assert series(figure.axes[1])[0] == [93.9, 95.0, 95.1]
    assert len({round(np.ptp(ax.get_ylim()), 6) for ax in figure.axes}) == 1
    frame.loc[frame["refine"], ["study_mean", "local_mean"]] = np.nan
    assert re.search(r"not run: GCN \+ BR$", words(step_plots.boundary_internal(frame, PROFILE)), re.MULTILINE)


def test_boundary_sensitivity():
    figure = plots.boundary_sensitivity(sensitivity(3), PROFILE, headline=3)
    check_layout(figure)
    assert "reproduced on shapes (n = 3)" in words(figure) and "bands: ± std" in words(figure)
    assert series(figure.axes[0]) == [[44, 46, 48]] * 3
    assert any(list(line.get_xdata()) == [3, 3] for line in figure.axes[0].lines)
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(43) and band.max() == pytest.approx(49)
    assert "±" not in words(plots.boundary_sensitivity(sensitivity(1), PROFILE, headline=3))
    assert "not run" in words(plots.boundary_sensitivity(sensitivity(0), PROFILE, headline=3))


def test_learning_curves():
    names = ["gcn-k15", "gcn-k3", "stack-k7", "stack-k7-m26", "conv1x1", "gcn-k15-br", "conv-k5", "other"]
    figure = plots.learning_curves(curves(names), PROFILE)
    check_layout(figure)
    assert "reproduced on shapes (n = 2)" in words(figure)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    order = ["conv1x1", "gcn-k3", "gcn-k15", "gcn-k15-br", "conv-k5", "stack-k7-m26", "stack-k7", "other"]
    assert list(lines) == order
    assert list(lines["gcn-k3"].get_ydata()) == [33, 35]
    assert len({colors.to_hex(line.get_color()) for line in lines.values()}) == len(names)
    assert "not run" in words(plots.learning_curves(curves([]), PROFILE))


def test_rank_correlation_counts_a_run_once():
    frame = table("1")
    twice = pd.concat([frame, frame], ignore_index=True)
    assert "(n = 8 cells)" in words(plots.published_against_reproduced(twice, PROFILE))
    frame["study_mean"] = -frame["published"]
    assert "Spearman ρ = −1.00" in words(plots.published_against_reproduced(frame, PROFILE))
    assert "too few" in words(plots.published_against_reproduced(frame[:2], PROFILE))


def drawn(count: int, height: int = 8, width: int = 10):
    images = [np.full((height, width, 3), 90, np.uint8)] * count
    labels = np.zeros((height, width), np.uint8)
    labels[2:6, 2:6], labels[2, 2:6] = 3, 255
    return images, [labels] * count


def test_qualitative():
    images, truths = drawn(2)
    figure = pictures.qualitative(images, truths, {"GCN": [np.zeros_like(truths[0])] * 2, "GCN + BR": truths}, CLASSES)
    check_layout(figure)
    assert [ax.get_title() for ax in figure.axes[:4]] == ["image", "GCN", "GCN + BR", "truth"]
    truth = figure.axes[3].images[0].get_array()
    assert truth[2, 2].tolist() == [255, 255, 255]
    assert truth[3, 3].tolist() == PALETTE[9:12] and truth[0, 0].tolist() == [0, 0, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["background", "4 lobes", "void"]


@pytest.mark.parametrize("count", [1, 5, 9])
def test_samples(count):
    figure = pictures.samples(*drawn(count), CLASSES)
    check_layout(figure)
    assert sum(len(ax.images) for ax in figure.axes) == 2 * count
    columns = figure.axes[0].get_subplotspec().get_gridspec().ncols
    assert (figure.axes[columns].images[0].get_array()[2, 2] == 255).all()  # the truth is below the image


def test_no_examples():
    assert "no examples" in words(pictures.qualitative([], [], {"GCN": []}, CLASSES))
    assert "no examples" in words(pictures.samples([], [], CLASSES))
