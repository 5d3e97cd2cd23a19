"""How models are measured; knows no data set and no model."""

from gcnlab.evaluation.complexity import component_costs, count_multiply_adds, count_parameters
from gcnlab.evaluation.metrics import BoundaryAccuracy, ConfusionMatrix, boundary_distance, boundary_region

__all__ = [
    "BoundaryAccuracy",
    "ConfusionMatrix",
    "boundary_distance",
    "boundary_region",
    "component_costs",
    "count_multiply_adds",
    "count_parameters",
]
