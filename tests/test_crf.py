"""Dense CRFs against mean field written out in numpy, and against pydensecrf2's output."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import softmax

from gcnlab.errors import UserError
from gcnlab.evaluation import crf
from gcnlab.evaluation.crf import Crf, Pairwise, dense_crf


def mean_field(probability, image, kernels, iterations):
    """The same written out for all pairs of pixels, in float64."""

    def kernel(*features):
        features = np.concatenate(features, -1).reshape(image.shape[0] * image.shape[1], -1)
        matrix = np.exp(-cdist(features, features, "sqeuclidean") / 2)
        return matrix / np.sqrt(np.outer(matrix.sum(1), matrix.sum(1)))

    position = np.moveaxis(np.indices(image.shape[:2]), 0, -1)
    alike = kernel(position / kernels.bilateral_xy, image / kernels.bilateral_rgb)
    near = kernel(position / kernels.smooth_xy)
    unary = np.log(np.clip(probability, 1e-5, 1)).reshape(len(probability), -1)
    q = softmax(unary, 0)
    for _ in range(iterations):
        messages = kernels.bilateral_weight * q @ alike + kernels.smooth_weight * q @ near
        q = softmax(unary + messages, 0)
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


@pytest.mark.parametrize("numbers", [(), (4, 8, 13, 3, 1), (2, 20, 30, 5, 2.5), (0, 1, 1, 4, 3)])
@pytest.mark.parametrize("kind", ["noise", "black and white", "flat", "ramp"])
def test_the_exact_crf_is_mean_field(kind, numbers):
    (probability, image), kernels = scene(kind), Pairwise(*numbers)
    for iterations in (1, 2, 10):
        refined = dense_crf(probability, image, kernels, iterations=iterations)
        assert refined.shape == probability.shape and refined.dtype == np.float32
        expected = mean_field(probability, image, kernels, iterations)
        tolerance = 1e-3 if kernels.bilateral_rgb == 3 else 1e-4  # float32: large exponents cancel
        assert refined == pytest.approx(expected, abs=tolerance)
        assert np.abs(refined - probability).max() > 0.01


HAS_PYDENSECRF = crf.find_spec("pydensecrf") is not None
NEEDS_IT = pytest.mark.skipif(not HAS_PYDENSECRF, reason="needs pip install -e '.[crf]'")
BACKENDS = ["exact", pytest.param("pydensecrf2", marks=NEEDS_IT)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_weight_nothing_changes(backend):
    probability, image = scene("noise")
    probability[:, 0, :4] = np.eye(4)  # certain, but a CRF forbids nothing: 0 counts as 1e-5
    kept = np.clip(probability, 1e-5, 1)
    idle = Pairwise(bilateral_weight=0, smooth_weight=0)
    refined = dense_crf(probability, image, idle, backend)
    assert refined == pytest.approx(kept / kept.sum(0), abs=1e-5)


ORACLE = Path(__file__).with_name("pydensecrf2.npz")


@pytest.mark.parametrize("kind", ["noise", "ramp"])
def test_the_exact_crf_is_near_pydensecrf2s_and_no_other_is(kind):
    """Within its approximation; a deviation wrong by √2, or half a weight, is clearly farther."""
    kernels, (probability, image) = Pairwise(4, 5, 13, 3, 1), scene(kind, (24, 31))
    theirs = np.load(ORACLE)[kind]

    def distance(kernels):
        return np.abs(dense_crf(probability, image, kernels, iterations=1) - theirs).mean()

    right = distance(kernels)
    assert right < 0.12 * np.abs(theirs - probability).mean()
    for field in fields(kernels):
        factor = 0.5 if field.name.endswith("weight") else 2**0.5
        wrong = replace(kernels, **{field.name: factor * getattr(kernels, field.name)})
        assert distance(wrong) > 1.4 * right, field.name
    if HAS_PYDENSECRF:
        again = dense_crf(probability, image, kernels, "pydensecrf2", 1)
        assert again == pytest.approx(theirs, abs=2e-3)


LARGE = np.full((2, 129, 128), 0.5), np.zeros((129, 128, 3), np.uint8)


@pytest.mark.parametrize(("act", "named"), [
    (lambda: dense_crf(*LARGE, Pairwise()), "128×129 is too large.*pydensecrf2"),
    (lambda: dense_crf(*scene("flat"), Pairwise(), "gpu"), "'gpu'; choose one of exact"),
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
    assert dense_crf(*scene("flat"), Pairwise()).shape == (4, 13, 18), "exact needs no package"
