"""Scores by object size: hand-made objects, and sums that must agree with the whole."""

import numpy as np
import pytest

from gcnlab.data import shapes
from gcnlab.evaluation import ConfusionMatrix, boundary_region
from gcnlab.evaluation.objects import ScoresBySize, connected_objects, innermost_point, object_sizes


def scene():
    """Background, a 4×4 object of class 1, a 10×6 one of class 2, one void column beside it."""
    label, instances = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    label[2:6, 2:6], instances[2:6, 2:6] = 1, 1
    label[8:18, 8:14], instances[8:18, 8:14] = 2, 2
    label[8:18, 14], instances[8:18, 14] = 255, 255
    return label, instances


def test_connected_objects_are_counted_per_class():
    label, _ = scene()
    found = connected_objects(label)
    assert (found > 0).sum() == 16 + 60 and len(np.unique(found)) == 3
    assert {int(label[found == i].max()) for i in (1, 2)} == {1, 2}
    label[2:6, 6:8] = 2  # touches class 1, and is another object of class 2
    assert len(np.unique(connected_objects(label))) == 4
    assert not connected_objects(np.zeros((3, 3))).any()


def test_sizes_are_the_longer_sides():
    _, instances = scene()
    assert object_sizes(np.where(instances == 255, 0, instances)) == {1: 4, 2: 10}
    assert object_sizes(np.zeros((4, 4), int)) == {}


def test_the_innermost_point_is_farthest_from_any_edge():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 1:8] = True
    row, column = innermost_point(mask)
    assert row == 4 and 3 <= column <= 5
    assert innermost_point(np.ones((5, 5), bool)) == (2, 2), "the image's edge counts"


def test_a_hand_made_case():
    label, instances = scene()
    prediction = label.copy()
    prediction[label == 255] = 0
    prediction[2:6, 2] = 2  # a quarter of the small object
    prediction[8:13, 8:14] = 0  # half of the large one is missed
    prediction[0, 0] = 1  # on the background: counts nowhere
    scores = ScoresBySize([0, 5, 100], 3, distance=1)
    scores.update(prediction, label, np.where(instances == 255, 0, instances))
    assert scores.objects.tolist() == [1, 1]
    assert scores.accuracy() == pytest.approx([12 / 16, 30 / 60])
    # bin 0: class 1 12/16, class 2 0 of 4; bin 1: class 2 30/60, class 1 absent
    assert scores.miou() == pytest.approx([(12 / 16 + 0) / 2, 0.5])
    inside = ~boundary_region(label, 1) & (label == 2)
    assert scores.internal_accuracy()[1] == pytest.approx((prediction[inside] == 2).mean())
    assert np.isnan(scores.internal_accuracy()[0]), "every pixel of a 4×4 object is within 1 of its edge"
    assert scores.centre_accuracy()[0] == 1.0, "its middle 2×2"


def test_bins_of_the_embedded_data_add_up_to_all_object_pixels():
    rng = np.random.default_rng(0)
    one = ScoresBySize([0, 1000], len(shapes.CLASSES), 3)
    three = ScoresBySize([0, 12, 30, 1000], len(shapes.CLASSES), 3)
    whole = ConfusionMatrix(len(shapes.CLASSES))
    for index in range(12):
        drawn = shapes.draw(np.random.default_rng([9, index]), shapes.DIAMETER, count=2)
        label = np.where(drawn.band, 255, drawn.classes).astype(np.uint8)
        instances = np.where(drawn.band, 0, drawn.instances)
        prediction = np.where(rng.random(label.shape) < 0.3, 1, drawn.classes)
        for scores in (one, three):
            scores.update(prediction, label, instances)
        objects = np.where(label == 0, 255, label)
        whole.update(prediction, objects)
    assert one.accuracy()[0] == pytest.approx(whole.pixel_accuracy())
    assert one.miou()[0] == pytest.approx(np.nanmean(whole.iou()[1:]))
    assert three.objects.sum() == one.objects.sum() > 12
    assert sum(m.matrix.sum() for m in three._all) == whole.matrix.sum()


def test_an_empty_bin_has_no_score():
    scores = ScoresBySize([0, 5, 6, 100], 3, distance=1)
    label, instances = scene()
    scores.update(label, label, np.where(instances == 255, 0, instances))
    assert np.isnan(scores.accuracy()[1]) and np.isnan(scores.miou()[1]) and scores.objects[1] == 0
    assert scores.miou()[[0, 2]].tolist() == [1, 1]
