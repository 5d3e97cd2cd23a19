"""Scores against scikit-learn, torchmetrics, brute force and cases worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import confusion_matrix
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex

from gcnlab.evaluation import BoundaryAccuracy, ConfusionMatrix, boundary_distance, boundary_region
from gcnlab.evaluation.complexity import count_multiply_adds, count_parameters
from gcnlab.evaluation.inference import predict, score_segmentation, topk_errors
from gcnlab.models import build_head

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


# --- mean IoU ------------------------------------------------------------------------------------


def test_confusion_matrix_is_scikit_learns():
    prediction, target = maps(0)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(prediction, target)
    keep = target != VOID
    assert np.array_equal(matrix.matrix, confusion_matrix(target[keep], prediction[keep], labels=range(CLASSES)))
    assert matrix.pixel_accuracy() == pytest.approx((prediction == target)[keep].mean())


@pytest.mark.parametrize("seed", range(3))
def test_iou_is_torchmetrics(seed):
    prediction, target = (torch.from_numpy(array) for array in maps(seed))
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(prediction, target)
    oracle = MulticlassJaccardIndex(CLASSES, average=None, ignore_index=VOID)(prediction, target.long())
    assert matrix.iou() == pytest.approx(oracle.numpy(), abs=1e-6)
    assert matrix.miou() == pytest.approx(oracle.mean().item(), abs=1e-6)


def test_images_add_up_to_the_data_set():
    prediction, target = maps(0)
    whole, parts = ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES)
    whole.update(prediction, target)
    per_image = []
    for p, t in zip(prediction, target, strict=True):
        parts.update(torch.from_numpy(p), t)
        alone = ConfusionMatrix(CLASSES)
        alone.update(p, t)
        per_image.append(alone.miou())
    assert np.array_equal(whole.matrix, parts.matrix)
    assert parts.miou() != pytest.approx(np.mean(per_image), abs=1e-6), "an average over images is not mean IoU"


def test_absent_classes_do_not_count():
    matrix = ConfusionMatrix(4)
    #  class 0: 1 / 3, class 1: 1 / 2, class 2: predicted only, 0 / 1, class 3: nowhere
    matrix.update(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 0, VOID]))
    assert matrix.iou()[:3] == pytest.approx([1 / 3, 1 / 2, 0])
    assert np.isnan(matrix.iou()[3])
    assert matrix.miou() == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)


def test_nothing_counted_is_not_a_number():
    matrix = ConfusionMatrix(4)
    assert np.isnan(matrix.miou()) and np.isnan(matrix.pixel_accuracy())
    matrix.update(np.zeros((2, 2), int), np.full((2, 2), VOID))
    assert matrix.matrix.sum() == 0 and np.isnan(matrix.miou()) and np.isnan(matrix.iou()).all()


@pytest.mark.parametrize(
    ("prediction", "target", "named"),
    [
        ([[0, 1]], [[0], [1]], "differ in shape"),
        ([0, 4], [0, 1], "prediction has classes outside 0 … 3"),
        ([0, -1], [0, 1], "prediction has classes"),
        ([0, 1], [0, 4], "target has classes outside 0 … 3"),
        ([0, 1], [0, -1], "target has classes"),
    ],
)
def test_impossible_maps_are_refused(prediction, target, named):
    matrix = ConfusionMatrix(4)
    with pytest.raises(ValueError, match=named):
        matrix.update(np.array(prediction), np.array(target))
    assert matrix.matrix.sum() == 0, "a refused map leaves no trace"


# --- boundary regions ----------------------------------------------------------------------------


def rows_of(text):
    return np.array([[int(c) for c in line] for line in text.split()])


def test_a_boundary_worked_out_by_hand():
    # a 3×3 object on a 7×7 ground: both sides of its outline are boundary pixels
    label = rows_of("0000000 0000000 0011100 0011100 0011100 0000000 0000000")
    at_0 = rows_of("0000000 0011100 0111110 0110110 0111110 0011100 0000000")
    at_1 = rows_of("0011100 0111110 1111111 1111111 1111111 0111110 0011100")
    at_1_5 = rows_of("0111110 1111111 1111111 1111111 1111111 1111111 0111110")
    for distance, expected in ((0, at_0), (1, at_1), (1.4, at_1), (1.5, at_1_5), (2.3, np.ones((7, 7)))):
        assert np.array_equal(boundary_region(label, distance), expected.astype(bool)), distance
    assert boundary_distance(label)[0, 0] == pytest.approx(5**0.5)


@pytest.mark.parametrize("seed", range(6))
def test_distances_are_euclidean(seed):
    label = blobs(seed)
    height, width = label.shape
    boundary = [
        (r, c)
        for r in range(height)
        for c in range(width)
        if any(
            0 <= i < height and 0 <= j < width and label[i, j] != label[r, c]
            for i, j in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
        )
    ]
    oracle = [[min(np.hypot(r - i, c - j) for i, j in boundary) for c in range(width)] for r in range(height)]
    assert boundary_distance(label) == pytest.approx(np.array(oracle))


@pytest.mark.parametrize("seed", range(3))
def test_regions_grow_from_the_boundary_to_everything(seed):
    label = blobs(seed)
    counted = label != VOID
    assert 0 < counted.sum() < counted.size
    regions = [boundary_region(label, distance) for distance in (0, 1, 3, 7, np.inf)]
    for small, large in pairwise(regions):
        assert not (small & ~large).any()
    assert np.array_equal(regions[0], (boundary_distance(label) == 0) & counted)
    assert np.array_equal(regions[-1], counted)
    assert not (regions[2] & ~counted).any(), "void pixels belong to no region"


def test_a_void_ring_is_a_boundary_and_the_image_edge_is_not():
    label = np.repeat([[0, 0, 0, VOID, VOID, 1, 1, 1]], 5, 0)
    assert np.array_equal(boundary_region(label, 0), np.repeat([[0, 0, 1, 0, 0, 1, 0, 0]], 5, 0).astype(bool))
    alone = np.full((5, 8), 3)
    assert np.isinf(boundary_distance(alone)).all()
    assert not boundary_region(alone, 1e9).any() and boundary_region(alone, np.inf).all()


@pytest.mark.parametrize("distance", [0, 1, 3, 7])
def test_boundary_accuracy_is_the_direct_computation(distance):
    measured = BoundaryAccuracy((9, distance))
    correct, region, counted = [], [], []
    for seed in range(3):
        target = blobs(seed, (60, 81))
        prediction = np.where(np.random.default_rng(seed).random(target.shape) < 0.3, 0, target)
        measured.update(torch.from_numpy(prediction), torch.from_numpy(target))
        correct.append(prediction == target)
        region.append(boundary_region(target, distance))
        counted.append(target != VOID)
    correct, region, counted = map(np.array, (correct, region, counted))
    assert measured.boundary(distance) == pytest.approx(correct[region].mean())
    assert measured.internal(distance) == pytest.approx(correct[counted & ~region].mean())
    assert measured.boundary_pixels(distance) == region.sum()
    assert measured.pixels() == counted.sum()


def test_boundary_and_internal_make_up_pixel_accuracy():
    measured, matrix = BoundaryAccuracy((3,)), ConfusionMatrix(CLASSES)
    for prediction, target in zip(*maps(5), strict=True):
        measured.update(prediction, target)
        matrix.update(prediction, target)
    share = measured.boundary_pixels(3) / measured.pixels()
    # noise: every pixel is near a boundary, so nothing is internal
    assert share == 1 and np.isnan(measured.internal(3))
    assert measured.boundary(3) == pytest.approx(matrix.pixel_accuracy())
    for seed in range(3):
        target = blobs(seed, (60, 81))
        measured.update(target, target)
        matrix.update(target, target)
    share = measured.boundary_pixels(3) / measured.pixels()
    assert 0 < share < 1
    both = share * measured.boundary(3) + (1 - share) * measured.internal(3)
    assert both == pytest.approx(matrix.pixel_accuracy())


def test_no_boundary_is_not_a_number():
    measured = BoundaryAccuracy((3,))
    assert np.isnan(measured.boundary(3)) and np.isnan(measured.internal(3))
    measured.update(np.zeros((4, 4)), np.zeros((4, 4)))
    assert np.isnan(measured.boundary(3)) and measured.internal(3) == 1


# --- from models to scores -----------------------------------------------------------------------


class Oracle(nn.Module):
    """A model whose images are the answers: class = first channel."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.num_classes = num_classes
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return nn.functional.one_hot(images[:, 0].long(), self.num_classes).movedim(-1, 1).float()


def answers(prediction):
    return torch.as_tensor(prediction, dtype=torch.uint8)[:, None].repeat(1, 3, 1, 1)


def test_prediction_is_the_highest_class():
    prediction = torch.randint(0, 4, (2, 5, 6))
    assert torch.equal(predict(Oracle().train(), answers(prediction)).long(), prediction)


def test_the_padded_border_is_neither_scored_nor_a_boundary():
    target = torch.full((2, 16, 16), VOID)
    target[0, :10, :12], target[1, :16, :7] = 1, 2
    prediction = torch.zeros(2, 16, 16)
    prediction[0, :10, :12], prediction[1, :16, :7] = 1, 2
    prediction[0, :10, :3] = 3
    batch = (answers(prediction), target, [(10, 12), (16, 7)])
    confusion, boundary = score_segmentation(Oracle(), [batch], 4, (3, 7))
    assert boundary.boundary_pixels(7) == 0, "each image has one label, and the edge of the image is no boundary"
    assert boundary.pixels() == confusion.matrix.sum() == 120 + 112
    assert boundary.internal(3) == pytest.approx((90 + 112) / 232)
    assert confusion.iou() == pytest.approx([np.nan, 90 / 120, 1, 0], nan_ok=True)


def test_batches_do_not_change_a_score():
    prediction, target = maps(3, (5, 20, 24))
    sizes = [(20, 24), (20, 20), (11, 24), (20, 24), (7, 9)]

    def score(size):
        parts = [slice(i, i + size) for i in range(0, 5, size)]
        batches = [(answers(prediction[p]), torch.from_numpy(target[p]), sizes[p]) for p in parts]
        confusion, boundary = score_segmentation(Oracle(CLASSES), batches, CLASSES, (1,))
        return confusion.matrix.tolist(), boundary.boundary(1), boundary.pixels()

    assert score(1) == score(2) == score(5)


def test_no_distances_skip_the_boundaries():
    prediction, target = maps(3, (1, 8, 8))
    _, boundary = score_segmentation(
        Oracle(CLASSES), [(answers(prediction), torch.from_numpy(target), [(8, 8)])], CLASSES
    )
    assert boundary.pixels() == 0


def test_topk_errors_count_images():
    class Logits(nn.Linear):
        def forward(self, images):
            return images.flatten(1)

    ranks = torch.tensor([[9.0, 8, 7, 6], [1, 2, 3, 4], [5, 9, 1, 7], [2, 3, 9, 4]]).view(4, 4, 1, 1)
    labels = torch.tensor([0, 1, 0, 2])  # first, third, third and first choice
    halves = [(ranks[:1], labels[:1], []), (ranks[1:], labels[1:], [])]
    assert topk_errors(Logits(1, 1), halves, (1, 2, 3, 5)) == [0.5, 0.5, 0.0, 0.0]


# --- complexity ----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 7, 15])
def test_multiply_adds_of_heads(k):
    gcn, conv = (build_head(head, 32, CLASSES, k) for head in ("gcn", "conv"))
    dense = 32 * CLASSES * k * k * 16 * 20
    assert count_multiply_adds(conv, (1, 32, 16, 20)) == dense
    separable = count_multiply_adds(gcn, (1, 32, 16, 20))
    assert separable == 2 * k * (32 + CLASSES) * CLASSES * 16 * 20
    assert separable / dense == pytest.approx(2 / k * (1 + CLASSES / 32)), "claim 16: O(2 / k)"


def test_counting_leaves_the_module_as_it_was():
    head = build_head("gcn", 8, CLASSES, 3).train()
    features = torch.randn(1, 8, 5, 5)
    before = head(features)
    count_multiply_adds(head, (1, 8, 5, 5))
    assert head.training
    assert torch.equal(head(features), before)


def test_parameters_do_not_include_statistics():
    assert count_parameters(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).requires_grad_(False))) == 112 + 8
