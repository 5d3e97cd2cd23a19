"""Figures of the tables whose rows are steps: published above reproduced, with the size of every step."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gcnlab.study.drawing import ACCENT, GREY
from gcnlab.study.series import (
    PUBLISHED,
    draw_line,
    empty,
    equal_span,
    handles_of,
    legend,
    mean_and_std,
    notes_on,
    page,
    sources_of,
    styled,
    write_at,
)


@styled
def boundary_internal(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 5: boundary accuracy, internal accuracy and mIoU of three models, and the steps between them."""
    titles = {"boundary_accuracy": "boundary accuracy", "internal_accuracy": "internal accuracy", "miou": "mIoU"}
    panels = {title: frame[frame["metric"] == metric].assign(x=lambda g: g["row"]) for metric, title in titles.items()}
    return _steps(panels, profile, PUBLISHED, notes_on(frame.assign(column="")))


@styled
def backbone_pair(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Table 6: classification errors and two segmentation scores, on ResNet and on its GCN form."""
    titles = {
        "classification:\ntop-5 error": ("ImageNet cls err", "top5_error"),
        "classification:\ntop-1 error": ("ImageNet cls err", "top1_error"),
        "segmentation, 1×1 baseline:\nmIoU": ("Seg. Score (Baseline)", "miou"),
        "segmentation, GCN + BR:\nmIoU": ("Seg. Score (GCN + BR)", "miou"),
    }
    groups = dict(list(frame.assign(x=frame["column"].str.replace("50", "")).groupby(["row", "metric"])))
    panels = {title: groups.get(key, frame.iloc[:0].assign(x=[])) for title, key in titles.items()}
    return _steps(panels, profile, "published", notes_on(frame))


@styled
def stages(frame: pd.DataFrame, profile: str) -> Figure:
    """Beside Tables 7 and 9: one panel per model, mIoU from row to row."""
    rows = frame.assign(x=frame["row"].str.replace(r"Stage-\d-", "+ ", regex=True).str.replace("MS-CRF", "CRF"))
    panels = dict(list(rows.groupby("column", sort=False))) or {"": rows}
    return _steps(panels, profile, "published", notes_on(frame))


def _steps(panels: dict[str, pd.DataFrame], profile: str, published: str, notes: str) -> Figure:
    """One column per panel, published above reproduced: scores over ``x``, and the steps between them.

    All y ranges have the same length, so that slopes compare across panels and between paper and reproduction.
    """
    everything = pd.concat(panels.values())
    figure, axes = page(3 * len(panels), 5.6, rows=2, columns=len(panels))
    for line, sources in zip(axes, (["published"], sources_of(everything)), strict=True):
        for ax, group in zip(line, panels.values(), strict=True):
            x = np.arange(len(group))
            for place, source in enumerate(sources):
                mean, std = mean_and_std(group, source)
                color = GREY if source == "published" else ACCENT
                draw_line(ax, x, mean, std, source, color)
                around = pd.Series(mean).rolling(3, center=True, min_periods=1).mean()
                for i in np.flatnonzero(np.isfinite(mean)) if place == 0 else ():  # beyond the bend of the line
                    side = 1 if mean[i] >= around[i] else -1
                    write_at(ax, x[i], mean[i] + side * np.nan_to_num(std[i]), f"{mean[i]:.1f}", gap=6 * side)
                for i in np.flatnonzero(np.isfinite(np.diff(mean))):
                    step = f"{mean[i + 1] - mean[i]:+.1f}".replace("-", "−")
                    where = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top", "weight": "bold"}
                    ax.text(i + 0.5, 0.98 - 0.1 * place, "○ " * (source == "local") + step, color=color, **where)
            if not np.isfinite(ax.dataLim.intervaly).all():
                empty(ax, "not given" if sources == ["published"] else "not run")
            ax.set_xticks(x, group["x"])
            ax.set_xlim(-0.4, max(len(x), 1) - 0.6)
    for ax, title in zip(axes[0], panels, strict=True):
        ax.set_title(title)
    equal_span(axes.flat, top=0.5, bottom=0.25)
    for ax in axes.flat:  # no score is below 0
        ax.set_ylim(bottom=max(ax.get_ylim()[0], -0.06 * np.ptp(ax.get_ylim())))
    axes[0, 0].set_ylabel(f"{published}, %")
    axes[1, 0].set_ylabel(f"reproduced (profile {profile}), %")
    legend(figure, handles_of(everything, profile, ACCENT), notes)
    return figure
