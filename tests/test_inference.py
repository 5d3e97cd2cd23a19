"""Test-time augmentation: crops, scales and flips against what must hold."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gcnlab.errors import UserError
from gcnlab.evaluation.inference import TestTime, crop_starts, predict, probabilities

from gcnlab.evaluation.inference import score_segmentation  # isort: skip

CLASSES = 4
SCALED = TestTime((0.75, 1.0, 1.25), flip=True)
ALL = TestTime((0.5, 1.7), flip=True, crop=13, stride=13)
WAYS = [TestTime(), TestTime(flip=True), TestTime(crop=16, stride=6), SCALED, ALL]


class Toy(nn.Module):
    """A small fully convolutional network; scores depend on the pixels up to ``reach`` away."""

    def __init__(self, *kernels):
        super().__init__()
        torch.manual_seed(sum(kernels))
        widths = [3] + [8] * (len(kernels) - 1) + [CLASSES]
        layers = zip(pairwise(widths), kernels, strict=True)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for (a, b), k in layers)
        self.reach = sum(k // 2 for k in kernels)
        self.sizes = []
        self.eval()

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        for layer in self.layers:
            x = layer(3 * x.tanh())
        return F.dropout(x, training=self.training)


def noise(height=37, width=52, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).byte()


def close(one, other, tolerance=1e-5):
    return torch.allclose(one, other, rtol=0, atol=tolerance)


# --- crops ---


@pytest.mark.parametrize("crop", [1, 2, 7, 16, 33])
def test_crops_cover_every_pixel_from_edge_to_edge(crop):
    for size in range(1, 90):
        for stride in range(1, crop + 1):
            starts = crop_starts(size, crop, stride)
            assert starts[0] == 0 and starts[-1] + crop == max(size, crop)
            gaps = [after - before for before, after in pairwise(starts)]
            assert all(0 < gap <= stride for gap in gaps) and np.ptp([*gaps[:1], *gaps] or [0]) <= 2
            assert len(starts) == 1 + max(0, -(-(size - crop) // stride)), "no more than needed"
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


@pytest.mark.parametrize(("crop", "stride"), [(16, 16), (24, 13), (24, 1), (40, 30), (60, 60)])
def test_crops_are_the_whole_where_the_field_of_view_allows(crop, stride):
    model, pointwise, images = Toy(3, 5, 3), Toy(1, 1), noise()

    def inside(size):
        """Pixels that see no border of any crop that covers them, unless it is the image's own."""
        clear = np.ones(size, bool)
        for start in crop_starts(size, crop, stride):
            end = start + crop
            clear[start : start + model.reach * (start > 0)] = False
            clear[end - model.reach * (end < size) : end] = False
        return clear

    how = TestTime(crop=crop, stride=stride)
    once, twice = (probabilities(pointwise, images, way) for way in (how, TestTime()))
    assert close(once, twice)
    fused, whole = probabilities(model, images, how), probabilities(model, images, TestTime())
    clear = torch.from_numpy(np.outer(inside(37), inside(52)))
    assert close(fused[..., clear], whole[..., clear])
    assert bool(clear.all()) == (crop >= 52) == close(fused, whole), "crops have borders"


# --- scales and flips ---


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("size", [(37, 52), (1, 9)])
def test_probabilities_whatever_the_view(how, size):
    model, images = Toy(3, 3).train(), noise(*size)
    seen = probabilities(model, images, how)
    assert seen.shape == (2, CLASSES, *size) and seen.dtype == torch.float32 and seen.min() >= 0
    assert close(seen.sum(1), torch.ones(2, *size))
    assert close(probabilities(model, images.float() / 255, how), seen), "bytes or fractions"
    assert close(probabilities(model, images[1:], how), seen[1:]), "images of a batch do not meet"
    if how.flip:
        assert close(probabilities(model, images.flip(-1), how), seen.flip(-1))


def test_one_plain_look_is_plain_prediction():
    model, images = Toy(3, 5), noise()
    plain = predict(model, images)
    assert torch.equal(predict(model, images, how=TestTime()), plain) and len(plain.unique()) > 1
    assert torch.equal(probabilities(model, images, TestTime()), model(images).softmax(1))
    for how in (None, ALL):  # scored are the predictions of the views asked for
        labels = predict(model, images, how=how)
        scores = score_segmentation(model, [(images, labels, [(37, 52)] * 2)], CLASSES, how=how)
        assert scores.confusion.pixel_accuracy() == 1
    assert not torch.equal(labels, plain)


def test_all_views_count_the_same():
    model, images, scales = Toy(3, 5), noise(), (0.5, 1.0, 1.5)
    ways = [TestTime((scale,)) for scale in scales]
    views = [probabilities(model, images, how) for how in ways]
    mirrored = [probabilities(model, images.flip(-1), how).flip(-1) for how in ways]
    assert close(probabilities(model, images, TestTime(scales)), sum(views) / 3)
    with_mirror = probabilities(model, images, TestTime(scales, flip=True))
    assert close(with_mirror, sum(views + mirrored) / 6)
    assert not close(views[0], views[1], 0.01), "scales differ"


def test_a_scaled_view_is_resized_and_its_probabilities_are_resized_back():
    model, images = Toy(3, 5), noise(40, 60).float() / 255
    small = F.interpolate(images, (20, 30), mode="bilinear", antialias=True)
    back = F.interpolate(model(small).softmax(1), (40, 60), mode="bilinear")
    assert close(probabilities(model, images, TestTime((0.5,))), back)


def test_a_crop_has_as_many_pixels_at_every_scale():
    model = Toy(1)
    probabilities(model, noise(40, 60), TestTime((0.25, 1.0, 1.5), crop=32, stride=32))
    assert model.sizes == [(10, 15)] + [(32, 32)] * (2 * 2 + 2 * 3)


@pytest.mark.parametrize("wrong", [
    {"scales": ()}, {"scales": (1.0, 0.0)}, {"scales": (-1.0,)}, {"scales": (float("nan"),)},
    {"crop": 64}, {"stride": 3}, {"crop": 64, "stride": 65}, {"crop": 64, "stride": 0},
    {"crop": 64, "stride": -1}, {"crop": 0, "stride": 0}, {"crop": -4, "stride": -4},
])  # fmt: skip
def test_impossible_looks_are_refused(wrong, caught):
    with pytest.raises(UserError) as info:
        TestTime(**wrong)
    assert str(next(iter(wrong.values()))) in caught(info)
