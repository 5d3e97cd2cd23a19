"""How models are measured; knows no data set and no model."""

from gcnlab.evaluation.complexity import component_costs, count_multiply_adds, count_parameters
from gcnlab.evaluation.metrics import (
    BoundaryAccuracy,
    ConfusionMatrix,
    SegmentationCounts,
    boundary_distance,
    boundary_region,
)
from gcnlab.evaluation.receptive_field import (
    gradient_map,
    occlusion_map,
    square_side,
    theoretical_field,
)

__all__ = [
    "BoundaryAccuracy", "ConfusionMatrix", "SegmentationCounts", "boundary_distance",
    "boundary_region", "component_costs", "count_multiply_adds", "count_parameters",
    "gradient_map", "occlusion_map", "square_side", "theoretical_field",
]  # fmt: skip
