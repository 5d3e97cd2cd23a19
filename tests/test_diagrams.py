"""The redrawn schematic figures: they save, and their texts neither overlap nor leave the page."""

import io
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gcnlab.study import diagrams


@pytest.mark.parametrize("draw", [diagrams.figure1, diagrams.figure2, diagrams.figure4])
def test_diagram(draw):
    figure = draw()
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    file = io.BytesIO()
    canvas.print_png(file)
    assert len(file.getvalue()) > 10_000

    texts = [text for text in figure.axes[0].texts if text.get_text()]
    assert min(text.get_size() for text in texts) >= 8
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]
    for name, area in boxes:
        assert figure.bbox.containsx(area.x0) and figure.bbox.containsx(area.x1), name
        assert figure.bbox.containsy(area.y0) and figure.bbox.containsy(area.y1), name
    assert not [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]
