"""What is compared: heads, boundary refinement, backbones and the framework that joins them."""

from gcnlab.models.backbones import BACKBONES, build_backbone
from gcnlab.models.classifier import build_classifier, resnet50_gcn
from gcnlab.models.heads import HEADS, build_head
from gcnlab.models.refinement import BoundaryRefinement
from gcnlab.models.segmenter import build_segmenter

__all__ = [
    "BACKBONES", "HEADS", "BoundaryRefinement", "build_backbone", "build_classifier", "build_head",
    "build_segmenter", "resnet50_gcn",
]  # fmt: skip
