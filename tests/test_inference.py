"""How a model looks at an image: crops, scales and flips against what must hold, dense CRFs against numpy."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from scipy.special import softmax
from torch import nn

from gcnlab.errors import UserError
from gcnlab.evaluation import ConfusionMatrix, crf
from gcnlab.evaluation.crf import Crf, Pairwise, dense_crf
from gcnlab.evaluation.inference import TestTime, crop_starts, predict, probabilities, score_segmentation

CLASSES = 4
SCALED = TestTime((0.75, 1.0, 1.25), flip=True)
ALL = TestTime((0.5, 1.7), flip=True, crop=13, stride=13)
WAYS = [TestTime(), TestTime(flip=True), TestTime(crop=16, stride=6), SCALED, ALL]


class Toy(nn.Module):
    """A small fully convolutional network; a pixel's scores depend on the pixels up to ``reach`` away."""

    def __init__(self, *kernels, symmetric=False):
        super().__init__()
        torch.manual_seed(sum(kernels))
        widths = [3] + [8] * (len(kernels) - 1) + [CLASSES]
        layers = zip(pairwise(widths), kernels, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for (a, b), k in layers)
        self.reach = sum(k // 2 for k in kernels)
        self.seen = []
        self.eval()
        with torch.no_grad():
            for layer in self.layers:
                layer.weight += layer.weight.flip(-1) if symmetric else 0

    def forward(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        for layer in self.layers:
            x = layer(3 * x.tanh())
        return F.dropout(x, training=self.training)


def noise(height=37, width=52, count=2):
    return torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(1)).byte()


def close(one, other, tolerance=1e-5):
    return torch.allclose(one, other, rtol=0, atol=tolerance)


# --- crops ---------------------------------------------------------------------------------------


def test_crops_cover_every_pixel_from_edge_to_edge():
    for crop in (1, 2, 7, 16, 33):
        for size in range(1, 90):
            for stride in range(1, crop + 1):
                starts = crop_starts(size, crop, stride)
                assert starts[0] == 0 and starts[-1] + crop == max(size, crop)
                gaps = [after - before for before, after in pairwise(starts)]
                assert all(0 < gap <= stride for gap in gaps) and (not gaps or max(gaps) - min(gaps) <= 2)
                assert len(starts) == 1 + max(0, -(-(size - crop) // stride)), "no more crops than needed"
    assert crop_starts(2048, 1024, 342) == [0, 341, 683, 1024], "the paper's four"


def test_fused_crops_worked_out_by_hand():
    class Mean(nn.Linear):
        """Everywhere in its view the same: class 1 is as likely as the view is bright."""

        def forward(self, images):
            bright = images.mean((1, 2, 3), keepdim=True).expand(-1, 1, *images.shape[-2:])
            return torch.cat([1 - bright, bright], 1).log()

    image = torch.tensor([0.2, 0.4, 0.8]).expand(1, 3, 2, 3)
    fused = probabilities(Mean(1, 1), image, TestTime(crop=2, stride=1))
    assert fused[0, 1].numpy() == pytest.approx(np.array([[0.3, 0.45, 0.6]] * 2))


@pytest.mark.parametrize("how", WAYS)
def test_a_constant_stays_constant(how):
    found = probabilities(Toy(1, 1), torch.full((1, 3, 37, 52), 0.3), how)
    assert close(found, found[..., :1, :1].expand_as(found)) and found[0, :, 0, 0].std() > 0.01


@pytest.mark.parametrize(("crop", "stride"), [(16, 16), (24, 13), (24, 1), (40, 30), (60, 60)])
def test_crops_are_the_whole_where_the_field_of_view_allows(crop, stride):
    model, pointwise, images = Toy(3, 5, 3), Toy(1, 1), noise()

    def inside(size):
        """Pixels that see nothing of the border of any crop that covers them, unless it is the image's own."""
        clear = np.ones(size, bool)
        for start in crop_starts(size, crop, stride):
            end = start + crop
            clear[start : start + model.reach * (start > 0)] = False
            clear[end - model.reach * (end < size) : end] = False
        return clear

    how = TestTime(crop=crop, stride=stride)
    assert close(probabilities(pointwise, images, how), probabilities(pointwise, images, TestTime()))
    fused, whole = probabilities(model, images, how), probabilities(model, images, TestTime())
    clear = torch.from_numpy(np.outer(inside(37), inside(52)))
    assert close(fused[..., clear], whole[..., clear])
    assert bool(clear.all()) == (crop >= 52) == close(fused, whole), "crops have borders of their own"


# --- scales and flips ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("size", [(37, 52), (1, 9)])
def test_probabilities_whatever_the_view(how, size):
    model, images = Toy(3, 3).train(), noise(*size)
    found = probabilities(model, images, how)
    assert found.shape == (2, CLASSES, *size) and found.dtype == torch.float32 and found.min() >= 0
    assert close(found.sum(1), torch.ones(2, *size))
    assert close(probabilities(model, images.float() / 255, how), found), "bytes and fractions are one image"
    assert close(probabilities(model, images[1:], how), found[1:]), "images of a batch do not meet"


def test_one_plain_look_is_plain_prediction():
    model, images = Toy(3, 5), noise()
    plain = predict(model, images)
    assert torch.equal(predict(model, images, how=TestTime()), plain) and plain.unique().numel() > 1
    assert torch.equal(probabilities(model, images, TestTime((1.0,))), model(images).softmax(1))


def test_a_symmetric_network_sees_nothing_new_in_the_mirror():
    for kernels, same in (({"symmetric": True}, True), ({}, False)):
        model = Toy(3, 5, **kernels)
        for scales in ((1.0,), (0.75, 1.0, 1.3)):
            once, twice = (probabilities(model, noise(), TestTime(scales, flip)) for flip in (False, True))
            assert close(once, twice) == same


@pytest.mark.parametrize("how", [way for way in WAYS if way.flip])
def test_with_flips_the_mirror_image_has_mirrored_classes(how):
    model, images = Toy(3, 5), noise()
    assert close(probabilities(model, images.flip(-1), how), probabilities(model, images, how).flip(-1))


def test_all_views_count_the_same():
    model, images, scales = Toy(3, 5), noise(), (0.5, 1.0, 1.5)
    views = [probabilities(model, images, TestTime((scale,))) for scale in scales]
    mirrored = [probabilities(model, images.flip(-1), TestTime((scale,))).flip(-1) for scale in scales]
    assert close(probabilities(model, images, TestTime(scales)), sum(views) / 3)
    assert close(probabilities(model, images, TestTime(scales, flip=True)), sum(views + mirrored) / 6)
    assert not close(views[0], views[1], 0.01), "scales differ"


def test_a_scaled_view_is_resized_and_its_probabilities_are_resized_back():
    model, images = Toy(3, 5), noise(40, 60).float() / 255
    small = F.interpolate(images, (20, 30), mode="bilinear", antialias=True)
    back = F.interpolate(model(small).softmax(1), (40, 60), mode="bilinear")
    assert close(probabilities(model, images, TestTime((0.5,))), back)


def test_a_crop_has_as_many_pixels_at_every_scale():
    model = Toy(1)
    probabilities(model, noise(40, 60), TestTime((0.25, 1.0, 1.5), crop=32, stride=32))
    assert model.seen == [(10, 15)] + [(32, 32)] * (2 * 2 + 2 * 3)


def test_scores_are_those_of_the_views_asked_for():
    model, images, labels = Toy(3, 5), noise(), torch.randint(0, CLASSES, (2, 37, 52))
    batches = [(images, labels, [(37, 52), (20, 31)])]
    for how, found in ((None, predict(model, images)), (ALL, predict(model, images, how=ALL))):
        expected = ConfusionMatrix(CLASSES)
        expected.update(found[0], labels[0])
        expected.update(found[1, :20, :31], labels[1, :20, :31])
        assert np.array_equal(score_segmentation(model, batches, CLASSES, how=how)[0].matrix, expected.matrix)


@pytest.mark.parametrize("wrong", [
    {"scales": ()}, {"scales": (1.0, 0.0)}, {"scales": (-1.0,)}, {"scales": (float("nan"),)}, {"crop": 64},
    {"stride": 3}, {"crop": 64, "stride": 65}, {"crop": 64, "stride": 0}, {"crop": 64, "stride": -1},
    {"crop": 0, "stride": 0}, {"crop": 0, "stride": 1}, {"crop": -4, "stride": -4},
])  # fmt: skip
def test_impossible_looks_are_refused(wrong, caught):
    with pytest.raises(UserError) as info:
        TestTime(**wrong)
    assert str(next(iter(wrong.values()))) in caught(info)


# --- dense CRF -----------------------------------------------------------------------------------


def mean_field(probability, image, kernels, iterations):
    """The same written out for all pairs of pixels, in float64."""

    def kernel(*features):
        features = np.concatenate(features, -1).reshape(image.shape[0] * image.shape[1], -1)
        found = np.exp(-cdist(features, features, "sqeuclidean") / 2)
        return found / np.sqrt(np.outer(found.sum(1), found.sum(1)))

    place = np.moveaxis(np.indices(image.shape[:2]), 0, -1)
    alike, near = kernel(place / kernels.bilateral_xy, image / kernels.bilateral_rgb), kernel(place / kernels.smooth_xy)
    unary = np.log(np.clip(probability, 1e-5, 1)).reshape(len(probability), -1)
    q = softmax(unary, 0)
    for _ in range(iterations):
        q = softmax(unary + kernels.bilateral_weight * q @ alike + kernels.smooth_weight * q @ near, 0)
    return q.reshape(probability.shape)


def scene(kind, shape=(13, 18), seed=0):
    """Random probabilities of four classes and an image."""
    rng = np.random.default_rng(seed)
    image = {
        "noise": rng.integers(0, 256, (*shape, 3)),
        "black and white": 255 * rng.integers(0, 2, (*shape, 3)),
        "flat": 77 + rng.integers(0, 4, (*shape, 3)),
        "ramp": np.broadcast_to(np.linspace(0, 255, shape[1])[:, None], (*shape, 3)),
    }[kind].astype(np.uint8)
    return rng.dirichlet(np.ones(4), shape).transpose(2, 0, 1), image


KERNELS = [Pairwise(), Pairwise(4, 8, 13, 3, 1), Pairwise(2, 20, 30, 5, 2.5), Pairwise(0, 1, 1, 4, 3)]
KINDS = ["noise", "black and white", "flat", "ramp"]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_crf_is_mean_field(kind, kernels):
    probability, image = scene(kind)
    for iterations in (1, 2, 10):
        refined = dense_crf(probability, image, kernels, iterations=iterations)
        assert refined.shape == probability.shape and refined.dtype == np.float32
        tolerance = 1e-3 if kernels.bilateral_rgb == 3 else 1e-4  # float32: exponents of up to 10⁴ cancel out
        assert refined == pytest.approx(mean_field(probability, image, kernels, iterations), abs=tolerance)
        assert np.abs(refined - probability).max() > 0.01


HAS_PYDENSECRF = crf.find_spec("pydensecrf") is not None
NEEDS_IT = pytest.mark.skipif(not HAS_PYDENSECRF, reason="pydensecrf2 is not installed: pip install -e '.[crf]'")
BACKENDS = ["exact", pytest.param("pydensecrf2", marks=NEEDS_IT)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_weight_nothing_changes(backend):
    probability, image = scene("noise")
    probability[:, 0, :4] = np.eye(4)  # certain, but a CRF forbids nothing: 0 counts as 1e-5
    kept = np.clip(probability, 1e-5, 1)
    idle = Pairwise(bilateral_weight=0, smooth_weight=0)
    assert dense_crf(probability, image, idle, backend) == pytest.approx(kept / kept.sum(0), abs=1e-5)


def two_regions():
    """A red disc on blue, and probabilities of it that are wrong in a fifth of all pixels."""
    rng = np.random.default_rng(3)
    truth = np.hypot(*(np.indices((30, 40)) - np.array([14, 22])[:, None, None])) < 9
    image = np.where(truth[..., None], [200, 60, 40], [40, 90, 180]) + rng.integers(-4, 5, (30, 40, 3))
    guess = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.25, truth.shape), 0, 1)
    return truth, np.stack([1 - guess, guess]), image.astype(np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_crf_cleans_two_noisy_regions(backend):
    truth, guess, image = two_regions()
    refined = dense_crf(guess, image, Pairwise(4, 20, 13, 3, 1), backend)
    assert np.mean(guess.argmax(0) == truth) < 0.85 and np.mean(refined.argmax(0) == truth) > 0.99
    assert refined.sum(0) == pytest.approx(np.ones((30, 40)), abs=1e-5)


@NEEDS_IT
def test_pydensecrf_is_nearly_exact():
    _, guess, image = two_regions()
    for kernels in (Pairwise(4, 20, 13, 3, 1), Pairwise(1, 20, 13, 1, 1)):
        exact, approximate = (dense_crf(guess, image, kernels, backend) for backend in crf.BACKENDS)
        assert approximate == pytest.approx(exact, abs=0.05)
    for kind in KINDS:  # what iterations amplify where nothing is sure: after one of them
        (guess, image), kernels = scene(kind, (24, 31)), Pairwise(4, 20, 13, 3, 2)
        exact, approximate = (dense_crf(guess, image, kernels, backend, 1) for backend in crf.BACKENDS)
        assert np.abs(exact - approximate).mean() < 0.3 * np.abs(exact - guess).mean()


ORACLE = Path(__file__).with_name("pydensecrf2.npz")  # one step of pydensecrf2 1.1: it needs a compiler to install


@pytest.mark.parametrize("kind", ["noise", "ramp"])
def test_the_exact_crf_is_near_pydensecrf2s_and_no_other_is(kind):
    """Within the error of its approximation; every deviation wrong by √2, and half a weight, is clearly farther."""
    kernels, (probability, image), theirs = Pairwise(4, 5, 13, 3, 1), scene(kind, (24, 31)), np.load(ORACLE)[kind]

    def distance(kernels):
        return np.abs(dense_crf(probability, image, kernels, iterations=1) - theirs).mean()

    right = distance(kernels)
    assert right < 0.12 * np.abs(theirs - probability).mean()
    for name, factor in {"bilateral_xy": 2**0.5, "bilateral_rgb": 2**0.5, "smooth_xy": 2**0.5,
                         "bilateral_weight": 0.5, "smooth_weight": 0.5}.items():  # fmt: skip
        assert distance(replace(kernels, **{name: factor * getattr(kernels, name)})) > 1.4 * right, name
    if HAS_PYDENSECRF:
        assert dense_crf(probability, image, kernels, "pydensecrf2", 1) == pytest.approx(theirs, abs=2e-3)


def test_classes_and_sides_have_no_order():
    (probability, image), kernels = scene("noise"), KERNELS[1]
    refined = dense_crf(probability, image, kernels)
    assert dense_crf(probability[::-1], image, kernels) == pytest.approx(refined[::-1], abs=1e-4)
    turned = dense_crf(probability.transpose(0, 2, 1)[..., ::-1], image.transpose(1, 0, 2)[:, ::-1], kernels)
    assert turned == pytest.approx(refined.transpose(0, 2, 1)[..., ::-1], abs=1e-4)


LARGE = np.full((2, 129, 128), 0.5), np.zeros((129, 128, 3), np.uint8)


@pytest.mark.parametrize(("act", "named"), [
    (lambda: dense_crf(*LARGE, Pairwise()), "128×129 is too large.*pydensecrf2"),
    (lambda: dense_crf(scene("flat", (18, 13))[0], scene("flat")[1], Pairwise()), r"\(18, 13\).*\(13, 18\) differ"),
    (lambda: dense_crf(*scene("flat"), Pairwise(), "gpu"), "'gpu'; choose one of exact, pydensecrf2"),
    (lambda: dense_crf(*scene("flat"), Pairwise(), "pydensecrf2"), "pip install"),
    (lambda: Crf("gpu"), "'gpu'; choose one of exact, pydensecrf2"),
    (lambda: Crf("exact", ()), "at least one candidate"),
    (lambda: Crf("exact", iterations=0), "one iteration"),
])  # fmt: skip
def test_what_no_crf_can_do_is_one_clear_line(act, named, caught, monkeypatch):
    monkeypatch.setattr(crf, "find_spec", lambda _: None)
    with pytest.raises((UserError, ValueError), match=named) as info:
        act()
    caught(info)
    assert dense_crf(*scene("flat"), Pairwise()).shape == (4, 13, 18), "exact needs nothing that may be missing"
