"""What is compared: heads, boundary refinement, backbones and the framework that joins them."""

from gcnlab.models.backbones import build_classifier
from gcnlab.models.heads import HEADS, build_head
from gcnlab.models.refinement import BoundaryRefinement
from gcnlab.models.segmenter import build_segmenter

__all__ = ["HEADS", "BoundaryRefinement", "build_classifier", "build_head", "build_segmenter"]
