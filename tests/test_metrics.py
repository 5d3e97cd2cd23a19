"""Scores against scikit-learn, torchmetrics, brute force and cases worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import confusion_matrix
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex

from gcnlab.evaluation import (
    BoundaryAccuracy,
    ConfusionMatrix,
    SegmentationCounts,
    boundary_distance,
    boundary_region,
)
from gcnlab.evaluation.inference import predict, score_predictions, score_segmentation, topk_wrong
from gcnlab.evaluation.objects import ScoresBySize, connected_objects, innermost_point, object_sizes

CLASSES, VOID = 6, 255


def maps(seed, shape=(4, 23, 31), void=0.1):
    """A random prediction and target of all classes, a part of the target void."""
    rng = np.random.default_rng(seed)
    prediction, target = rng.integers(0, CLASSES, (2, *shape)).astype(np.uint8)
    target[rng.random(shape) < void] = VOID
    return prediction, target


def blobs(seed, shape=(12, 17)):
    """A random label map of a few regions, one of them void."""
    noise = np.random.default_rng(seed).normal(size=(4, *shape))
    regions = np.argmax([gaussian_filter(n, shape[0] / 6) for n in noise], 0)
    return np.where(regions == 3, VOID, regions).astype(np.uint8)


def rows_of(text):
    return np.array([[int(c) for c in line] for line in text.split()])


# --- mean IoU ---


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_is_scikit_learns_and_the_iou_is_torchmetrics(seed):
    prediction, target = maps(seed)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.from_numpy(prediction), torch.from_numpy(target))
    keep = target != VOID
    oracle = confusion_matrix(target[keep], prediction[keep], labels=range(CLASSES))
    assert np.array_equal(matrix.matrix, oracle)
    assert matrix.pixel_accuracy() == pytest.approx((prediction == target)[keep].mean())
    jaccard = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=VOID)
    oracle = jaccard(torch.from_numpy(prediction), torch.from_numpy(target).long())
    assert matrix.iou() == pytest.approx(oracle.numpy(), abs=1e-6)
    assert matrix.miou() == pytest.approx(oracle.mean().item(), abs=1e-6)


def test_absent_classes_do_not_count_and_nothing_is_not_a_number():
    matrix = ConfusionMatrix(4)
    assert np.isnan([matrix.miou(), matrix.pixel_accuracy(), *matrix.iou()]).all()
    #  class 0: 1 / 3, class 1: 1 / 2, class 2: predicted only, 0 / 1, class 3: nowhere
    matrix.update(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 0, VOID]))
    assert matrix.iou() == pytest.approx([1 / 3, 1 / 2, 0, np.nan], nan_ok=True)
    assert matrix.miou() == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize(("prediction", "target", "named"), [
    ([[0, 1]], [[0], [1]], "differ in shape"),
    ([0, 4], [0, 1], "prediction has classes outside 0 … 3"),
    ([0, -1], [0, 1], "prediction has classes"),
    ([0, 1], [0, 4], "target has classes outside 0 … 3"),
    ([0, 1], [0, -1], "target has classes"),
])  # fmt: skip
def test_impossible_maps_are_refused_without_a_trace(prediction, target, named):
    counts = SegmentationCounts(4)
    with pytest.raises(ValueError, match=named):
        counts.update(np.array(prediction), np.array(target))
    assert counts.confusion.matrix.sum() == 0 and counts.images == []


# --- boundary regions ---


def test_a_boundary_worked_out_by_hand():
    # a 3×3 object on a 7×7 ground: both sides of its outline are boundary pixels
    label = rows_of("0000000 0000000 0011100 0011100 0011100 0000000 0000000")
    at_0 = rows_of("0000000 0011100 0111110 0110110 0111110 0011100 0000000")
    at_1 = rows_of("0011100 0111110 1111111 1111111 1111111 0111110 0011100")
    at_1_5 = rows_of("0111110 1111111 1111111 1111111 1111111 1111111 0111110")
    for distance, expected in ((0, at_0), (1, at_1), (1.4, at_1), (1.5, at_1_5), (2.3, label >= 0)):
        assert np.array_equal(boundary_region(label, distance), expected.astype(bool)), distance
    ring = np.repeat([[0, 0, 0, VOID, VOID, 1, 1, 1]], 5, 0)  # a void ring is a boundary
    expected = np.repeat([[0, 0, 1, 0, 0, 1, 0, 0]], 5, 0).astype(bool)
    assert np.array_equal(boundary_region(ring, 0), expected)
    corner = np.zeros((40, 40), np.uint8)
    corner[0, 0] = 1  # a limit above the side, and below the longest distance
    within = boundary_distance(corner)
    assert np.array_equal(boundary_region(corner, 45), within <= 45) and within.max() > 50
    alone = np.full((5, 8), 3)  # the image's edge is none
    assert np.isinf(boundary_distance(alone)).all()
    assert not boundary_region(alone, 1e9).any() and boundary_region(alone, np.inf).all()


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_euclidean_and_regions_grow_to_everything(seed):
    label = blobs(seed)
    height, width = label.shape
    pixels = [np.array(pixel) for pixel in np.ndindex(height, width)]
    boundary = [
        a for a in pixels
        if any(np.abs(a - b).sum() == 1 and label[*a] != label[*b] for b in pixels)
    ]  # fmt: skip
    oracle = [min(np.hypot(*(a - b)) for b in boundary) for a in pixels]
    assert boundary_distance(label).ravel() == pytest.approx(np.array(oracle))
    for limit in (0, 0.875, 1, 3.5, 7, 1e9):
        within = np.where(boundary_distance(label) <= limit, boundary_distance(label), np.inf)
        assert np.array_equal(boundary_distance(label, limit), within), limit
    everywhere = boundary_region(label, np.inf)
    assert np.array_equal(everywhere, label != VOID), "void pixels belong to no region"


@pytest.mark.parametrize("distance", [0, 1, 3, 7])
def test_boundary_accuracy_is_the_direct_computation_and_follows_from_counts(distance):
    measured, correct, region, counted = BoundaryAccuracy((9, distance)), [], [], []
    assert np.isnan([measured.boundary(distance), measured.internal(distance)]).all()
    for seed in range(3):
        target = blobs(seed, (60, 81))
        wrong = np.random.default_rng(seed).random(target.shape) < 0.3
        prediction = np.where(wrong, 0, target)
        measured.update(torch.from_numpy(prediction), torch.from_numpy(target))
        correct.append(prediction == target)
        region.append(boundary_region(target, distance))
        counted.append(target != VOID)
    correct, region, counted = map(np.array, (correct, region, counted))
    assert measured.boundary(distance) == pytest.approx(correct[region].mean())
    assert measured.internal(distance) == pytest.approx(correct[counted & ~region].mean())
    counts = measured.counts()
    assert counts.keys() == {"all", "9", str(distance)}
    assert counts["all"] == [(correct & counted).sum(), counted.sum()]
    near, every = np.array(counts[str(distance)]), np.array(counts["all"])
    assert measured.boundary(distance) == near[0] / near[1]
    assert measured.internal(distance) == (every - near)[0] / (every - near)[1]


# --- from models to scores ---


class Oracle(nn.Module):
    """A model whose images are the answers: class = first channel."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.num_classes = num_classes
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return nn.functional.one_hot(images[:, 0].long(), self.num_classes).movedim(-1, 1).float()


def answers(prediction):
    return torch.as_tensor(prediction)[:, None].repeat(1, 3, 1, 1)


@pytest.mark.parametrize("classes", [4, 256, 257])
def test_prediction_is_the_highest_class(classes):
    dtype = torch.uint8 if classes <= 256 else torch.int64
    expected = torch.randint(0, classes, (2, 5, 6))
    expected[0, 0, 0] = classes - 1
    predicted = predict(Oracle(classes).train(), answers(expected))
    assert predicted.dtype == dtype and torch.equal(predicted.long(), expected)


def test_the_padded_border_is_neither_scored_nor_a_boundary():
    target = torch.full((2, 16, 16), VOID)
    target[0, :10, :12], target[1, :16, :7] = 1, 2
    prediction = torch.zeros(2, 16, 16)
    prediction[0, :10, :12], prediction[1, :16, :7] = 1, 2
    prediction[0, :10, :3] = 3
    batch = (answers(prediction), target, [(10, 12), (16, 7)])
    scores = score_segmentation(Oracle(), [batch], 4, (3, 7))
    assert scores.boundary.counts() == {"all": [202, 232], "3": [0, 0], "7": [0, 0]}
    assert scores.confusion.iou() == pytest.approx([np.nan, 90 / 120, 1, 0], nan_ok=True)
    # per image: class, hits, predicted, true
    assert scores.images == [[1, 90, 90, 120, 3, 0, 30, 0], [2, 112, 112, 112]]


def test_batches_change_nothing_and_counts_per_image_give_every_iou():
    prediction, target = maps(3, (5, 20, 24))
    sizes = [(20, 24), (20, 20), (11, 24), (20, 24), (7, 9)]
    target[4] = VOID

    def score(size):
        parts = [slice(i, i + size) for i in range(0, 5, size)]
        batches = [(answers(prediction[p]), torch.from_numpy(target[p]), sizes[p]) for p in parts]
        return score_segmentation(Oracle(CLASSES), batches, CLASSES, (1,))

    scores = score(1)
    for size in (2, 5):
        again = score(size)
        assert np.array_equal(again.confusion.matrix, scores.confusion.matrix)
        assert (again.images, again.boundary.counts()) == (scores.images, scores.boundary.counts())
    assert len(scores.images) == 5 and scores.images[4] == [], "nothing but void"
    assert all(type(number) is int for counts in scores.images for number in counts)
    totals = np.zeros((CLASSES, 3), np.int64)
    for image in scores.images:
        for class_id, *counts in np.reshape(image, (-1, 4)):
            totals[class_id] += counts
    hits, predicted, true = totals.T
    assert hits / (predicted + true - hits) == pytest.approx(scores.confusion.iou())
    assert score_predictions([], CLASSES).boundary is None, "no distances, no boundaries"


def test_topk_counts_images():
    class Logits(nn.Linear):
        def forward(self, images):
            return images.flatten(1)

    ranks = torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4], [5, 9, 1, 7], [2, 3, 9, 4]])
    ranks = ranks[..., None, None]
    labels = torch.tensor([0, 1, 0, 2])  # first, third, third and first choice
    halves = [(ranks[:1], labels[:1], []), (ranks[1:], labels[1:], [])]
    wrong, images = topk_wrong(Logits(1, 1), halves, (1, 2, 3, 5))
    assert (wrong.tolist(), images) == ([2, 2, 0, 0], 4)


# --- objects and their sizes ---


def scene():
    """A 4×4 object of class 1 and a 10×6 one of class 2 with a void column beside it."""
    label, instances = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    label[2:6, 2:6], instances[2:6, 2:6] = 1, 1
    label[8:18, 8:14], instances[8:18, 8:14] = 2, 2
    label[8:18, 14] = VOID
    return label, instances


def test_objects_their_sizes_and_innermost_points():
    label, instances = scene()
    objects = connected_objects(label)
    sizes = {(int(label[objects == i].max()), int((objects == i).sum())) for i in (1, 2)}
    assert sizes == {(1, 16), (2, 60)}
    label[2:6, 6:8] = 2  # touches class 1, and is another object of class 2
    assert connected_objects(label).max() == 3
    assert not connected_objects(np.zeros((3, 3))).any()
    assert object_sizes(instances) == {1: 4, 2: 10} and object_sizes(np.zeros((4, 4), int)) == {}
    mask = np.zeros((9, 9), bool)
    mask[2:7, 1:8] = True
    row, column = innermost_point(mask)
    assert row == 4 and 3 <= column <= 5
    assert innermost_point(np.ones((5, 5), bool)) == (2, 2), "the image's edge counts"


def test_scores_by_size_worked_out_by_hand():
    label, instances = scene()
    prediction = np.where(label == VOID, 0, label)
    prediction[2:6, 2] = 2  # a quarter of the small object
    prediction[8:13, 8:14] = 0  # half of the large one is missed
    prediction[0, 0] = 1  # on the background: counts nowhere
    scores = ScoresBySize([0, 5, 6, 100], 3, distance=1)
    for _ in range(2):  # two images that are alike
        scores.update(prediction, label, instances)
    assert scores.objects.tolist() == [2, 0, 2]
    measured = scores.scores()
    assert measured["accuracy"] == pytest.approx([12 / 16, np.nan, 30 / 60], nan_ok=True)
    # bin 0: class 1 12/16, class 2 0 of 4; bin 2: class 2 30/60, class 1 absent
    assert measured["miou"] == pytest.approx([(12 / 16 + 0) / 2, np.nan, 0.5], nan_ok=True)
    inside = ~boundary_region(label, 1) & (label == 2)
    internal = (prediction[inside] == 2).mean()
    assert measured["internal_accuracy"] == pytest.approx([np.nan, np.nan, internal], nan_ok=True)
    assert measured["centre_accuracy"][0] == 1.0, "its middle 2×2"


def test_counts_of_several_processes_add_up_in_the_order_of_images():
    def scored(numbers):
        return score_predictions([pairs[i] for i in numbers], CLASSES, (1,))

    pairs = [maps(i, (9, 11)) for i in range(7)]
    whole, (first, *others) = scored(range(7)), map(scored, ((0, 1, 6), (2, 3), (4, 5)))
    first.add(others, 2)
    assert np.array_equal(first.confusion.matrix, whole.confusion.matrix)
    assert (first.images, first.boundary.counts()) == (whole.images, whole.boundary.counts())
