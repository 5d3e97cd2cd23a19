"""The backbones by name."""

from functools import partial

from gcnlab.errors import NoSuchModel, check_name
from gcnlab.models.blocks import Backbone
from gcnlab.models.resnet import RESNET50_GCN, ResNet, SqueezeNet
from gcnlab.models.small_resnet import SmallResNet, bottleneck_gcn, small_gcn

# By the theoretical receptive field of C5 in pixels; an object is up to 58 pixels long.
BOTTLENECK_DEPTHS = {19: (1, 1, 1, 1), 27: (1, 1, 1, 2), 35: (1, 1, 2, 2)}

BACKBONES = {f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50, 101, 152)}
BACKBONES |= {
    # The paper's: the backbone of Tables 1–5, 7 and 9, and the pair of Tables 6 and 11.
    "resnet152_v1": partial(ResNet, 152, caffe=True),
    "resnet50_v1": partial(ResNet, 50, caffe=True),
    "resnet50_gcn": partial(ResNet, 50, caffe=True, gcn=RESNET50_GCN),
    "squeezenet1_1": SqueezeNet,
    # Their stand-ins: for synthetic 64-pixel images, and for photographs on a CPU.
    "small": SmallResNet,
    "small_gcn": partial(SmallResNet, gcn=small_gcn(16)),
    "medium": partial(SmallResNet, 32, stem_stride=2),
    "medium_gcn": partial(SmallResNet, 32, stem_stride=2, gcn=small_gcn(32)),
}
for field, depths in BOTTLENECK_DEPTHS.items():
    plain = partial(SmallResNet, block="bottleneck", depths=depths)
    BACKBONES[f"bottleneck{field}"] = plain
    BACKBONES[f"bottleneck{field}_gcn"] = partial(plain, gcn=bottleneck_gcn(depths))


def build_backbone(name: str) -> Backbone:
    """Build the backbone ``name`` with random weights; ``NoSuchModel`` names the known ones."""
    check_name("backbone", name, BACKBONES, NoSuchModel)
    return BACKBONES[name]()
