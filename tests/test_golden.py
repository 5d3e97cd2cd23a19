"""Runs whose results are known, on every path: a change needs another version.

If one of these fails after an intended change, raise ``TRAINING_VERSION`` (losses) or
``EVALUATION_VERSION`` (scores) and print the new numbers: ``python tests/test_golden.py``.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gcnlab.data import Split
from gcnlab.data.transforms import crop_part, random_crop
from gcnlab.evaluation import SegmentationCounts
from gcnlab.evaluation.inference import TestTime, probabilities, topk_wrong
from gcnlab.experiments.store import EVALUATION_VERSION
from gcnlab.models import build_classifier, build_segmenter
from gcnlab.training import TRAINING_VERSION, Schedule, make_step

CLASSES, SIDE, COUNT = 4, 40, 24
ADAMW = Schedule(4, 8, lr=2e-3, backbone_lr=1e-3, warmup=2)
SGD = Schedule(
    4, 8, "sgd", lr=2e-6, decay="step", momentum=0.99, weight_decay=5e-4, loss_reduction="sum"
)

# path → how the model is built, its schedule, how images are cropped
SEGMENTERS = {
    "conv1x1": (("conv1x1", None, None, False, "small"), ADAMW, None),
    "gcn": (("gcn", 7, None, False, "small"), ADAMW, None),
    "gcn + BR": (("gcn", 9, None, True, "small"), ADAMW, None),
    "conv": (("conv", 3, None, False, "small"), ADAMW, None),
    "stack": (("stack", 7, 12, False, "small"), ADAMW, None),
    "SGD, summed loss": (("conv1x1", None, None, True, "small"), SGD, None),
    "frozen batch norm": (("gcn", 5, None, False, "small", "rgb", "frozen"), ADAMW, None),
    "caffe normalization": (("gcn", 5, None, False, "small", "caffe"), ADAMW, None),
    "crops": (("gcn", 5, None, False, "small"), ADAMW, lambda *a: crop_part(*a, side=24)),
    "bottlenecks": (("gcn", 5, None, True, "bottleneck27"), ADAMW, None),
    "bottlenecks in GCN form": (("conv1x1", None, None, False, "bottleneck27_gcn"), ADAMW, None),
}
CLASSIFIERS = {
    "pre-training": ("bottleneck27", None),
    "pre-training on crops": ("small_gcn", lambda i, y, g: (random_crop(i, 36, 0.25, g), y)),
}
LOSSES = {  # of the last step: TRAINING_VERSION → path → loss
    2: {
        "conv1x1": 1.11526,
        "gcn": 1.19579,
        "gcn + BR": 1.25348,
        "conv": 1.00062,
        "stack": 1.17488,
        "SGD, summed loss": 1.20954,
        "frozen batch norm": 1.33342,
        "caffe normalization": 1.18548,
        "crops": 1.23697,
        "bottlenecks": 1.27755,
        "bottlenecks in GCN form": 1.26512,
        "pre-training": 1.26209,
        "pre-training on crops": 1.38688,
    },
}
SCORES = {  # EVALUATION_VERSION → scores
    1: {
        "whole": 0.000873948,
        "scales and flip": 0.000429606,
        "crops": 0.000775004,
        "miou": 0.565966,
        "boundary": 0.703623,
        "internal": 0.708333,
        "top1": 0.875,
    },
}


def drawn():
    """Images (24, 3, 40, 40) of noisy blocks, label maps with some void, a class of each."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, CLASSES, (COUNT, 1, 5, 5), generator=generator).float()
    labels = F.interpolate(coarse, size=(SIDE, SIDE))[:, 0].to(torch.uint8)
    noise = torch.randint(0, 120, (COUNT, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    images = labels[:, None] * 40 + noise
    classes = labels[:, 20, 20].long()
    labels[noise[:, 0] < 6] = 255
    return images, labels, classes


def last_loss(model, schedule, labels, training):
    images = drawn()[0]
    split = Split(range(COUNT), lambda i: (images[i], labels[i], (SIDE, SIDE)), training=training)
    step = make_step(model, CLASSES, schedule, "cpu", "float32")
    losses = [step(*batch).item() for batch in split.shuffled(8, 0, 0, schedule.steps)]
    return losses[-1] / (labels[:8].numel() if schedule.loss_reduction == "sum" else 1)


def trained(path):
    torch.manual_seed(0)
    if path in CLASSIFIERS:
        backbone, crop = CLASSIFIERS[path]
        return last_loss(build_classifier(backbone, CLASSES), ADAMW, drawn()[2], crop)
    build, schedule, crop = SEGMENTERS[path]
    head, k, m, refine, backbone, *rest = build
    model = build_segmenter(head, k, m, refine, backbone, CLASSES, None, *rest)
    return last_loss(model, schedule, drawn()[1], crop)


def scores():
    """Of an untrained network and of a random prediction, each looked at in every way."""
    images, labels, classes = drawn()
    torch.manual_seed(0)
    model = build_segmenter("gcn", 5, refine=True, backbone="small", num_classes=CLASSES).eval()
    ways = {"whole": TestTime(), "scales and flip": TestTime(scales=(0.75, 1.25), flip=True),
            "crops": TestTime(crop=24, stride=8)}  # fmt: skip
    results = {}
    for name, way in ways.items():
        found = torch.cat([torch.as_tensor(p)[None] for p in probabilities(model, images[:4], way)])
        results[name] = float(found.square().sum(1).sqrt().std())
    random = np.random.default_rng(0)
    counts = SegmentationCounts(CLASSES, (3, 7))
    for label in labels.numpy():
        counts.update(np.where(random.random(label.shape) < 0.6, label % CLASSES, 0), label)
    results |= {"miou": counts.confusion.miou(), "boundary": counts.boundary.boundary(3),
                "internal": counts.boundary.internal(3)}  # fmt: skip
    torch.manual_seed(0)
    classifier = build_classifier("small", CLASSES).eval()
    wrong, total = topk_wrong(classifier, [(images, classes, [])], (1,))
    results["top1"] = float(wrong) / total
    return results


@pytest.mark.parametrize("path", [*SEGMENTERS, *CLASSIFIERS])
def test_the_same_config_trains_to_the_same_loss_as_before(path):
    # scaling an image of bytes rounds otherwise on processors of another kind
    tolerance = 1e-2 if path == "pre-training on crops" else 1e-3
    assert trained(path) == pytest.approx(LOSSES[TRAINING_VERSION][path], abs=tolerance)


def test_every_path_ends_elsewhere():
    """Else a path would not be told from another, and a change of it not be seen."""
    losses = LOSSES[TRAINING_VERSION]
    assert losses.keys() == {*SEGMENTERS, *CLASSIFIERS}
    values = sorted(losses.values())
    assert min(np.diff(values)) > 2e-3


def test_the_same_weights_get_the_same_scores_as_before():
    assert scores() == pytest.approx(SCORES[EVALUATION_VERSION], rel=1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in (*SEGMENTERS, *CLASSIFIERS):
        print(f'        "{name}": {trained(name):.5f},')
    print(scores())
