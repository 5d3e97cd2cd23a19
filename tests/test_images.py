"""Images beside label maps, and what networks see: the right pixels in the right panels."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tqdm import tqdm

from gcnlab.report import controls, images, views

NAMES = ("background", "cat", "dog")


def labels(*rows: str) -> np.ndarray:
    """A label map from digits; ``v`` is void."""
    return np.array([[255 if c == "v" else int(c) for c in row] for row in rows], np.uint8)


TRUTH = labels("0011", "0011", "00v2", "0022")
BEFORE = labels("0000", "0011", "0012", "0122")
AFTER = labels("0011", "0011", "0002", "0120")


def drawn(count: int, size: int = 24):
    maps = (np.kron(m, np.ones((size // 4, size // 4), np.uint8)) for m in (TRUTH, BEFORE, AFTER))
    photograph = np.full((size, size, 3), 99, np.uint8)
    pictures, truths, before, after = ([one] * count for one in (photograph, *maps))
    return pictures, truths, {"1×1": before, "GCN": after}


def test_changes_tell_corrected_from_spoilt_pixels():
    shown = images.changes(TRUTH, BEFORE, AFTER)
    kinds = {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)): n for n, c in images.CHANGES.items()}
    kinds[255, 255, 255] = "void"
    at = {place: kinds[tuple(shown[place].tolist())] for place in np.ndindex(4, 4)}
    assert at[0, 2] == "corrected" and at[3, 3] == "spoilt" and at[3, 1] == "both wrong"
    assert at[2, 2] == "void" and list(at.values()).count("both right") == 11


def test_the_score_of_an_image_leaves_void_out():
    assert images.image_miou(TRUTH, TRUTH, 3) == 100
    # background 6 of 8, cat 4 of 5, dog 2 of 3; by hand
    assert images.image_miou(TRUTH, AFTER, 3) == pytest.approx(100 * (7 / 9 + 4 / 5 + 2 / 3) / 3)


@pytest.mark.parametrize(("shares", "count", "chosen"), [
    ([0.5] * 9, 3, [0, 4, 8]), ([0.0, 0.5, 0.99, 0.1], 5, [1, 3]), ([0.01], 2, []),
])  # fmt: skip
def test_examples_are_chosen_by_their_labelled_area(shares, count, chosen):
    truths = [(np.arange(100) < 100 * share).astype(np.uint8).reshape(10, 10) for share in shares]
    assert images.choose(truths, count) == chosen


@pytest.mark.parametrize("count", [1, 4])
def test_qualitative_panels(count):
    chart = images.qualitative(*drawn(count), NAMES)
    rows = [ax for ax in chart.figure.axes if ax.images]
    assert len(rows) == 5 * count, "image, truth, two predictions, changes"
    below = [ax.get_xlabel() for ax in rows[:5]]
    assert below[2] == "mIoU 70" and below[3] == "mIoU 75"
    assert (rows[1].images[0].get_array()[-1, -1] == images.COLORS[2]).all()
    assert f"GCN scores higher than 1×1 on {count} of these {count} images" in chart.title
    assert chart.content.startswith(b"\x89PNG") and "5% to 95%" in chart.caption


@pytest.mark.parametrize("count", [1, 9])
def test_samples(count):
    photographs, truths, _ = drawn(count)
    chart = images.samples(photographs, truths, NAMES)
    assert sum(bool(ax.images) for ax in chart.figure.axes) == 2 * count


def view(seen: slice = slice(4, 8)) -> views.View:
    drop = torch.zeros(16, 16)
    drop[seen, seen] = 1
    target = np.zeros((16, 16), bool)
    target[2:9, 2:9] = True
    image = torch.full((3, 16, 16), 200, dtype=torch.uint8)
    return views.View("GCN 15", image, (5, 6), "cat", drop, target)


def test_what_is_not_seen_is_pale():
    chart = views.draw([view()])
    shown = chart.figure.axes[0].images[0].get_array()
    assert (shown[5, 5] == 200).all() and (shown[0, 0] == int(0.3 * 200 + 0.7 * 225)).all()
    assert "“cat”" in chart.caption and "GCN 15 6 %" in chart.title


def test_titles_of_panels_keep_apart():
    title = "C: GCN 15, enlarged\nsees 15 % of the object\npredicts background"
    chart = views.draw([replace(view(), title=title)] * 3)
    FigureCanvasAgg(chart.figure).draw()
    areas = [ax._left_title.get_window_extent() for ax in chart.figure.axes]
    assert not any(one.overlaps(two) for one, two in pairwise(areas))
    assert areas[-1].x1 <= chart.figure.bbox.x1 + 1 and areas[0].y1 <= chart.figure.bbox.y1 + 1


def test_a_part_of_a_view_keeps_its_point():
    part = view().around_point((8, 8))
    assert part.image.shape == (3, 8, 8) and part.drop[part.point] == view().drop[5, 6]
    assert part.target.shape == part.drop.shape == (8, 8)


def circle(k: int, window: int) -> views.Chart:
    return views.draw([replace(view(), title=f"k = {k}, window {window}")])


CHOICES = {"k": ((1, 7, 15), 7), "window": (range(3, 9), 3)}


def test_controls_in_batch_are_one_picture(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    chart = controls.live(circle, **CHOICES)
    assert chart.figure.axes[0].get_title("left") == "k = 7, window 3"


def test_controls_in_jupyter_show_a_picture_and_redraw_it(monkeypatch):
    """A figure that belongs to no window is shown only if the controls display what they get."""
    monkeypatch.setenv("JPY_SESSION_NAME", "here")
    displayed = []
    monkeypatch.setattr("ipywidgets.widgets.interaction.display", displayed.append)
    sliders = controls.live(circle, **CHOICES)
    sliders.children[0].value = 15
    titles = [chart.figure.axes[0].get_title("left") for chart in displayed]
    assert titles == ["k = 7, window 3", "k = 15, window 3"]
    assert all("data:image/png" in chart._repr_html_() for chart in displayed)


LINES = ["2 runs: 2 to train", "smoke/a", "step     1/4  loss 1", "step     2/4  loss 1",
         "(1/3) a complete", "step     1/4  loss 1", "(3/3) c complete"]  # fmt: skip


def test_the_bar_counts_runs_and_parts_of_them(monkeypatch, capsys):
    monkeypatch.setenv("JPY_SESSION_NAME", "here")
    bars, counts = [], []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **how: bars.append(tqdm(**how)) or bars[0])
    with controls.bar(2) as log:
        for line in LINES:
            log(line)
            counts.append((bars[0].n, bars[0].total))
    assert counts == [(0, 2), (0, 2), (0.25, 2), (0.5, 2), (1, 3), (1.25, 3), (3, 3)]
    monkeypatch.delenv("JPY_SESSION_NAME")
    with controls.bar(2) as log:
        log(LINES[1])
    assert capsys.readouterr().out == "smoke/a\n"
