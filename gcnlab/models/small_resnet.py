"""Small ResNets that a CPU trains in minutes, with basic or bottleneck blocks, also in GCN form."""

from collections.abc import Mapping

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from gcnlab.models.blocks import Backbone, GCNBlock, GCNStage, conv_bn, shortcut

NARROWEST = 8  # channels inside a bottleneck: a quarter of the stage's, but at least so many


class SmallResNet(Backbone):
    """A ResNet with strides 1, 2, 4, 4 times ``stem_stride``.

    With the default a 64-pixel image has a C5 of 16×16, as 512 pixels have in the paper, so that
    k = 3 … 15 cover the same fractions of the image. With one basic block per stage the theoretical
    receptive field of C5 is 41 pixels, less than a large object; with one bottleneck it is 19, and
    every further bottleneck of res-4 or res-5 adds 8.

    Args:
        width: channels after the stem; the stages have 1, 2, 4 and 8 times as many.
        stem_stride: stride of the first convolution.
        gcn: stages (2 … 5) whose blocks become :class:`GCNBlock`, and their sizes.
        block: ``basic`` (two 3×3) or ``bottleneck`` (1×1, 3×3 with the stride, 1×1).
        depths: blocks of each stage.
    """

    def __init__(
        self,
        width: int = 16,
        stem_stride: int = 1,
        gcn: Mapping[int, GCNStage] | None = None,
        block: str = "basic",
        depths: tuple[int, int, int, int] = (1, 1, 1, 1),
    ):
        super().__init__()
        self.strides = tuple(stem_stride * s for s in (1, 2, 4, 4))
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        self.stem = nn.Sequential(*conv_bn(3, width, (3, 3), stem_stride), nn.ReLU())
        gcn, before = gcn or {}, width
        self.stages = nn.ModuleList()
        for i, (channels, stride) in enumerate(zip(self.channels, (1, 2, 2, 1), strict=True)):
            shapes = [(before, channels, stride)] + [(channels, channels, 1)] * (depths[i] - 1)
            self.stages.append(nn.Sequential(*(_block(block, *s, gcn.get(i + 2)) for s in shapes)))
            before = channels

    def parts(self) -> list[nn.Module]:
        return [nn.Sequential(self.stem, self.stages[0]), *self.stages[1:]]

    def components(self) -> dict[str, nn.Module]:
        """The rows of a table like Table 11, from the input to res-5."""
        return {"conv1": self.stem, **{f"res-{i}": stage for i, stage in enumerate(self.stages, 2)}}


def _block(kind: str, inputs: int, outputs: int, stride: int, gcn: GCNStage | None) -> nn.Module:
    if gcn is not None:
        return GCNBlock(inputs, outputs, *gcn, stride=stride)
    projection = shortcut(inputs, outputs, stride)
    if kind == "basic":
        return BasicBlock(inputs, outputs, stride, projection)
    planes = outputs // Bottleneck.expansion
    base_width = 64 * max(1, NARROWEST / planes)  # torchvision's name for the inner width / planes
    return Bottleneck(inputs, planes, stride, projection, base_width=base_width)


def small_gcn(width: int) -> dict[int, GCNStage]:
    """The GCN form of :class:`SmallResNet` with basic blocks, by the two rules of Table 11.

    The reach k − 1 of a block grows as in ResNet50-GCN, twice at res-4 and three times at res-5:
    two 3×3 reach 4, so k = 9 and 13. The width keeps the costs of the stage (within 2 %).
    """
    return {4: GCNStage(9, round(2.5 * width)), 5: GCNStage(13, 4 * width)}


def bottleneck_gcn(depths: tuple[int, int, int, int]) -> dict[int, GCNStage]:
    """The same with one or two bottlenecks per stage, 16 channels after the stem.

    One 3×3 reaches 2, so k = 5 and 7, as in Table 11 itself (parameters within 4 %).
    """
    return {4: GCNStage(5, {1: 8, 2: 7}[depths[2]]), 5: GCNStage(7, {1: 13, 2: 10}[depths[3]])}
