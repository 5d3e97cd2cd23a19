"""Receptive fields: toy networks with a known field, and captum as oracle."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from gcnlab.data.transforms import MEAN_COLOUR
from gcnlab.evaluation import receptive_field
from gcnlab.evaluation.receptive_field import (
    gradient_map,
    occlusion_map,
    predicted_class,
    score_drops,
    square_side,
    theoretical_field,
)
from gcnlab.models import build_segmenter

CLASSES = 4


def segmenter(backbone="small", head="gcn", k=5, refine=False):
    """A model whose scores depend visibly on the image, with statistics as after training."""
    torch.manual_seed(0)
    model = build_segmenter(head, k, backbone=backbone, num_classes=CLASSES, refine=refine)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for parameter in (*model.heads.parameters(), *model.refine_sums.parameters()):
            parameter.normal_(0, 0.1)
    return model.eval()


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


class Toy(nn.Module):
    """Two 3×3 convolutions and a ReLU: every score has a field of 5×5."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        first, second = (nn.Conv2d(*c, 3, padding=1) for c in ((3, 6), (6, CLASSES)))
        self.layers = nn.Sequential(first, nn.ReLU(), second)

    def forward(self, images):
        return self.layers(images / 255 if images.dtype == torch.uint8 else images)


def around(point, reach, height, width):
    """The square of ``reach`` pixels to each side of ``point``, cut at the border."""
    rows, columns = np.indices((height, width))
    inside = (abs(rows - point[0]) <= reach) & (abs(columns - point[1]) <= reach)
    return torch.from_numpy(inside)


# --- a known field ---


@pytest.mark.parametrize("point", [(0, 0), (10, 14), (20, 0), (7, 8)])
def test_all_three_fields_of_a_toy_network_are_its_five_by_five(point):
    model, image, field = Toy(), picture(21, 15), around(point, 2, 21, 15)
    assert torch.equal(theoretical_field(model, (21, 15), point), field)
    occluded = occlusion_map(model, image, point, window=1, stride=1, log=None)
    for measured in (occluded, gradient_map(model, image[None], point)):
        assert measured.shape == (21, 15) and measured.dtype == torch.float32
        assert (measured[~field] == 0).all() and (measured[field] != 0).float().mean() > 0.9
    # with a window of 5, exactly the windows that touch the field have a drop
    drops, rows, columns = score_drops(model, image, point, 5, 2)
    touching = [[bool(field[slice(*r), slice(*c)].any()) for c in columns] for r in rows]
    assert torch.equal(drops != 0, torch.tensor(touching))


def test_the_gradient_map_of_a_linear_network_is_its_kernel():
    model = nn.Conv2d(3, CLASSES, 5, padding=2)
    measured = gradient_map(model, torch.rand(4, 3, 17, 17), (8, 6), class_id=2)
    expected = torch.zeros(17, 17)
    expected[6:11, 4:9] = model.weight[2].detach().abs().sum(0)
    torch.testing.assert_close(measured, expected)


def test_gradient_maps_are_averaged_over_images_each_at_its_point_and_class():
    model, images = segmenter(), torch.stack([picture(40, 56, seed) for seed in range(3)])
    points = [(3, 4), (20, 50), (39, 0)]
    each = [gradient_map(model, images[i : i + 1], points[i]) for i in range(3)]
    torch.testing.assert_close(gradient_map(model, images, points), sum(each) / 3)
    class_id = predicted_class(model, images[0], points[0])
    fractions = gradient_map(model, images[:1].float() / 255, points[0], class_id)
    torch.testing.assert_close(each[0], fractions)


# --- against captum ---


def captums(model, image, point, window, stride, class_id):
    pixels = image[None].float() / 255
    baseline = (torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1) / 255).expand_as(pixels)
    occlusion = Occlusion(lambda images: model(images)[:, class_id, point[0], point[1]])
    windows = {"sliding_window_shapes": (3, window, window), "strides": (3, stride, stride)}
    with torch.no_grad():
        return occlusion.attribute(pixels, **windows, baselines=baseline,
                                   perturbations_per_eval=32)[0, 0]  # fmt: skip


@pytest.mark.parametrize(("window", "stride"), [(8, 8), (11, 3), (7, 5)])
@pytest.mark.parametrize(("size", "point"), [((64, 64), (31, 40)), ((45, 70), (0, 69))])
def test_score_drops_are_captums(size, point, window, stride):
    """captum gives each pixel the mean over the windows that hide it."""
    model, image, lines = segmenter(k=15), picture(*size), []
    class_id = predicted_class(model, image, point)
    drops, rows, columns = score_drops(model, image, point, window, stride, log=lines.append)
    assert lines == [f"{drops.numel()} windows: {drops.numel()} images of {size[1]}×{size[0]}"]
    total, count = torch.zeros(size), torch.zeros(size)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            total[slice(*r), slice(*c)] += drops[i, j]
            count[slice(*r), slice(*c)] += 1
    expected = captums(model, image, point, window, stride, class_id)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(total / count, expected, atol=1e-5, rtol=0)
    ours = occlusion_map(model, image.float() / 255, point, window, stride, batch_size=5, log=None)
    if window == stride:
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    for y, x in ((0, 0), (13, 27), (44, 63), (20, 8)):  # the nearest centre that hides the pixel
        hiding = [
            (abs(y - (r[0] + r[1] - 1) / 2), abs(x - (c[0] + c[1] - 1) / 2), float(drops[i, j]))
            for i, r in enumerate(rows)
            for j, c in enumerate(columns)
            if r[0] <= y < r[1] and c[0] <= x < c[1]
        ]
        nearest = tuple(min(h[axis] for h in hiding) for axis in (0, 1))
        candidates = [drop for *distance, drop in hiding if tuple(distance) == nearest]
        assert min(abs(float(ours[y, x]) - drop) for drop in candidates) < 1e-5


# --- theoretical fields ---


@pytest.mark.parametrize("backbone", ["small", "bottleneck19", "squeezenet1_1", "resnet18"])
def test_the_theoretical_field_holds_every_gradient(backbone):
    model = segmenter(backbone, "gcn", 7, refine=True)
    images = torch.stack([picture(64, 72, seed) for seed in range(4)])
    for point in ((0, 0), (30, 60)):
        field = theoretical_field(model, (64, 72), point)
        assert (gradient_map(model, images, point)[~field] == 0).all() and field[point]


def test_the_field_grows_with_k_and_the_baselines_is_smaller_than_the_image():
    fields = [theoretical_field(segmenter(head=head, k=k), (128, 128), (64, 64))
              for head, k in (("conv1x1", None), ("gcn", 3), ("gcn", 7), ("gcn", 15))]  # fmt: skip
    areas = [int(field.sum()) for field in fields]
    assert areas == sorted(set(areas)) and areas[0] < 64 * 64
    for head in ("conv", "stack"):
        same = theoretical_field(segmenter(head=head, k=7), (128, 128), (64, 64))
        assert torch.equal(same, fields[2]), "equal k, equal support"


# --- sizes, side effects, bad input ---


@pytest.mark.parametrize("point", [(10, 10), (0, 0), (10, 0)])
def test_squares_hold_their_share(point):
    side = square_side(torch.ones(21, 21), point, 0.5)
    inside, smaller = (around(point, s // 2, 21, 21).sum() / 441 for s in (side, side - 2))
    assert side % 2 == 1 and inside >= 0.5 > smaller
    spot = torch.zeros(21, 21)
    assert square_side(spot, point, 0.5) == 0
    spot[point] = -3
    assert square_side(spot, point, 0.95) == 1
    spot[20, 20] = 3
    assert square_side(spot, point, 0.95) == 2 * max(20 - point[0], 20 - point[1]) + 1


def test_the_model_is_left_as_it_was_and_hidden_parts_have_the_colour_of_padding():
    model, image = segmenter().train(), picture(40, 40)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    occlusion_map(model, image, (20, 20), 9, 9, log=None)
    gradient_map(model, image[None], (20, 20))
    theoretical_field(model, (40, 40), (20, 20))
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert receptive_field.MEAN_COLOUR == MEAN_COLOUR


@pytest.mark.parametrize(("arguments", "named"), [
    ({"point": (40, 0)}, r"point \(40, 0\) is not in an image of 40 rows and 50 columns"),
    ({"point": (0, -1)}, "is not in an image"),
    ({"window": 41}, "window 41 and stride 3 do not fit an image of 50×40"),
    ({"stride": 0}, "stride 0"),
])  # fmt: skip
def test_impossible_maps_are_refused(arguments, named):
    image = picture(40, 50)
    with pytest.raises(ValueError, match=named):
        occlusion_map(Toy(), image, **{"point": (3, 3), "log": None, **arguments})
    if point := arguments.get("point"):
        with pytest.raises(ValueError, match=named):
            theoretical_field(Toy(), (40, 50), point)
        with pytest.raises(ValueError, match=named):
            gradient_map(Toy(), image[None], point)
