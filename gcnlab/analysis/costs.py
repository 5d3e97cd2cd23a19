"""Parameters and multiply-adds of the paper's heads and backbones, counted on built modules."""

from functools import cache
from typing import Any

import pandas as pd
import torch

from gcnlab import paper
from gcnlab.evaluation import component_costs, count_multiply_adds, count_parameters
from gcnlab.experiments.variants import BACKBONES, Variant
from gcnlab.models import build_classifier, build_head
from gcnlab.models.blocks import GCNBlock

PAPER_CHANNELS, PAPER_CLASSES = 2048, 21  # after res-5, VOC


def _paper_head(head: str, k: int | None, m_ratio: float | None) -> torch.nn.Module:
    m = None if m_ratio is None else round(m_ratio * PAPER_CHANNELS)
    with torch.device("meta"):
        return build_head(head, PAPER_CHANNELS, PAPER_CLASSES, k, m)


def exact_parameters(head: str, k: int | None, m_ratio: float | None) -> int:
    """Weights of one head at the paper's size, 2048 → 21, as in Tables 2 and 4."""
    return count_parameters(_paper_head(head, k, m_ratio))


def exact_multiply_adds(head: str, k: int | None, m_ratio: float | None) -> int:
    """Multiply-adds of one head at the paper's size: 2048 → 21 on a 16×16 map (a 512-pixel
    image)."""
    return count_multiply_adds(_paper_head(head, k, m_ratio), (1, PAPER_CHANNELS, 16, 16))


def complexity() -> pd.DataFrame:
    """Parameters and multiply-adds of every head in the tables, with the published count where
    there is one.

    Columns: variant, head, k, m, parameters, published_k (thousands, nan if not published),
        multiply_adds.
    """
    published: dict[tuple, float] = {}
    for table in ("1", "2", "3", "4"):
        for row in paper.cells(table).dropna(subset="value").itertuples():
            variant = Variant.of_cell(row)
            head = variant.head, variant.k, variant.m_ratio
            published.setdefault(head, float("nan"))
            if row.metric == "parameters_k":
                published[head] = row.value
    rows = []
    for (head, k, m_ratio), thousands in published.items():
        m = round((m_ratio or 1) * PAPER_CHANNELS) if head == "stack" else None
        name = " ".join(p for p in (head, f"k={k}" if k else "", f"m={m}" if m else "") if p)
        counts = {"parameters": exact_parameters(head, k, m_ratio), "published_k": thousands,
                  "multiply_adds": exact_multiply_adds(head, k, m_ratio)}  # fmt: skip
        rows.append({"variant": name, "head": head, "k": k, "m": m, **counts})
    return pd.DataFrame(rows).astype({"k": "Int64", "m": "Int64"})


def architecture(pair: tuple[str, str] = ("resnet50_v1", "resnet50_gcn"), side: int = 224,
                 classes: int = 1000) -> pd.DataFrame:  # fmt: skip
    """Table 11 read off built modules: one row per component, for each backbone its layers and
    costs.

    Args:
        pair: names of a ResNet backbone and of its GCN form.
        side, classes: of the classifier's input and output.

    Columns: for each of :data:`BACKBONES` (title, layers | output size | parameters |
        multiply-adds).
    """
    columns: dict[tuple[str, str], list[Any]] = {}
    for title, name in zip(BACKBONES, pair, strict=True):
        with torch.device("meta"):
            classifier = build_classifier(name, classes)
        components = classifier.backbone.components()
        costs = component_costs(components, (1, 3, side, side))
        rows = [
            ("×".join(map(str, c.output_size)), c.parameters, c.multiply_adds)
            for c in costs.values()
        ]
        layers = [_describe(module) for module in components.values()]
        fc = classifier.fc
        convolutions = ("", sum(row[1] for row in rows), sum(row[2] for row in rows))
        rows.append(("1×1", count_parameters(fc), fc.in_features * fc.out_features))
        layers.append(f"global average pool, {fc.out_features}-d fc, softmax")
        whole = ("", sum(row[1] for row in rows), sum(row[2] for row in rows))
        columns[title, "layers"] = [*layers, "", ""]
        for i, what in enumerate(("output size", "parameters", "multiply-adds")):
            columns[title, what] = [row[i] for row in (*rows, convolutions, whole)]
    names = [*components, "classifier", "convolutions", "whole network"]
    return pd.DataFrame(columns, index=pd.Index(names, name="component"))


@cache
def backbone_costs() -> list[tuple[int, int]]:
    """(parameters with batch norm and classifier, multiply-adds of the convolutions at 224×224) of
    ResNet50 and ResNet50-GCN, as built."""
    built = architecture()
    rows = (("whole network", "parameters"), ("convolutions", "multiply-adds"))
    return [tuple(int(built[title].loc[row]) for row in rows) for title in BACKBONES]


def _describe(component: torch.nn.Module) -> str:
    """The layers of one component in the notation of Table 11."""

    def layer(conv: torch.nn.Conv2d) -> str:
        text = f"{'×'.join(map(str, conv.kernel_size))}, {conv.out_channels}"
        return text + (f", stride {conv.stride[0]}" if conv.stride[0] > 1 else "")

    def chain(module: torch.nn.Module) -> str:
        convs = [(n, m) for n, m in module.named_modules() if isinstance(m, torch.nn.Conv2d)]
        return "; ".join(layer(m) for n, m in convs if not n.startswith(("downsample", "shortcut")))

    def block(module: torch.nn.Module) -> str:
        if not isinstance(module, GCNBlock):
            return f"[{chain(module)}]"
        # Table 11 begins with the branch that begins with 1×k.
        first, second = (
            chain(branch).replace("; ", " → ") for branch in (module.right, module.left)
        )
        return f"[({first}) + ({second}); {chain(module.project)}]"

    if isinstance(component, torch.nn.MaxPool2d):
        return (
            f"{component.kernel_size}×{component.kernel_size} max pool, stride {component.stride}"
        )
    if isinstance(component, torch.nn.Sequential) and isinstance(component[0], torch.nn.Conv2d):
        return chain(component)
    blocks = list(component) if isinstance(component, torch.nn.Sequential) else [component]
    return f"{block(blocks[-1])} × {len(blocks)}"
