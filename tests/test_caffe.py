"""Weights of Caffe's ResNets against Caffe's own arithmetic, on made-up tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gcnlab.models import build_segmenter

BLOCKS = {"resnet50_v1": ("abc", "abcd", "abcdef", "abc")}
BLOCKS["resnet152_v1"] = ("abc", ["a", *(f"b{i}" for i in range(1, 8))],
                          ["a", *(f"b{i}" for i in range(1, 36))], "abc")  # fmt: skip


def caffe_blobs(name, folded, conv1_bias=False):
    """Made-up blobs of a Caffe ResNet, by layer, as its prototxt names them."""
    rng, blobs, before = np.random.default_rng(0), {}, 64

    def unit(suffix, outputs, inputs, k, bias=False):
        conv, norm = (suffix, suffix) if suffix == "conv1" else (f"res{suffix}", suffix)
        underscore = "_" * (suffix == "conv1")
        fan_in = inputs * k * k
        blobs[conv] = [rng.standard_normal((outputs, inputs, k, k), np.float32) / fan_in**0.5]
        blobs[conv] += [rng.standard_normal(outputs, np.float32)] * (bias or folded)
        if not folded:
            low, high = rng.uniform(-1, 1, outputs), rng.uniform(0.5, 2, outputs)
            factor = np.array([999.98], np.float32)
            blobs[f"bn{underscore}{norm}"] = [low * factor, high * factor, factor]
            blobs[f"scale{underscore}{norm}"] = [rng.uniform(0.2, 0.6, outputs), low[::-1].copy()]

    unit("conv1", 64, 3, 7, conv1_bias)
    for stage, names in enumerate(BLOCKS[name], 2):
        width = 16 * 2**stage
        for block in names:
            if block == "a":
                unit(f"{stage}a_branch1", 4 * width, before, 1)
            unit(f"{stage}{block}_branch2a", width, before, 1)
            unit(f"{stage}{block}_branch2b", width, width, 3)
            unit(f"{stage}{block}_branch2c", 4 * width, width, 1)
            before = 4 * width
    blobs["fc1000"] = [np.zeros((1000, before), np.float32), np.zeros(1000, np.float32)]
    return {layer: [b.astype(np.float32) for b in listed] for layer, listed in blobs.items()}


def caffe_features(name, blobs, x):
    """C2 … C5 as Caffe computes them, layer by layer."""

    def unit(x, suffix, stride=1, padding=0):
        stem = suffix == "conv1"
        weights = [torch.from_numpy(b) for b in blobs[suffix if stem else f"res{suffix}"]]
        x = F.conv2d(x, weights[0], *weights[1:], stride=stride, padding=padding)
        suffix = "_conv1" if stem else suffix
        if f"bn{suffix}" in blobs:
            mean, var, factor = map(torch.from_numpy, blobs[f"bn{suffix}"])
            gamma, beta = map(torch.from_numpy, blobs[f"scale{suffix}"])
            mean, var, gamma, beta = (t.view(-1, 1, 1) for t in (mean, var, gamma, beta))
            x = (x - mean / factor) / (var / factor + 1e-5).sqrt() * gamma + beta
        return x

    x, maps = unit(x, "conv1", 2, 3).relu(), []
    x = F.pad(x, (0, 1, 0, 1), value=-torch.inf)  # the last window is cut off at the edge
    x = x.unfold(2, 3, 2).unfold(3, 3, 2).amax((-2, -1))
    for stage, names in enumerate(BLOCKS[name], 2):
        for block in names:
            stride = 2 if block == "a" and stage > 2 else 1
            short = unit(x, f"{stage}a_branch1", stride) if block == "a" else x
            y = unit(x, f"{stage}{block}_branch2a", stride).relu()
            y = unit(y, f"{stage}{block}_branch2b", padding=1).relu()
            x = (short + unit(y, f"{stage}{block}_branch2c")).relu()
        maps.append(x)
    return maps


@pytest.mark.parametrize(("name", "folded", "bias"), [
    ("resnet152_v1", False, False), ("resnet50_v1", False, True), ("resnet50_v1", True, True),
])  # fmt: skip
def test_caffe_weights_give_caffes_features(name, folded, bias, tmp_path):
    blobs = caffe_blobs(name, folded, bias)
    arrays = {f"{layer}.{i}": b for layer, listed in blobs.items() for i, b in enumerate(listed)}
    path = tmp_path / "caffe.npz"
    np.savez(path, **arrays)
    model = build_segmenter("conv1x1", backbone=name, weights=path, normalization="caffe").eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=generator)
    bgr = image.flip(1).float() - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    with torch.no_grad():
        theirs_all = caffe_features(name, blobs, bgr)
        for ours, theirs in zip(model.features(image), theirs_all, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.std()))
    del arrays["res4a_branch2b.0"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"caffe\.npz lacks blob res\.0 of layer3\.0\.conv2"):
        build_segmenter("conv1x1", backbone=name, weights=path)
