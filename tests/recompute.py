"""An independent reading of a study: every cell and verdict from raw JSON, no code of gcnlab.

``python tests/recompute.py results/PROFILE`` prints them. ``test_recompute.py`` compares
them with what the package says. The rules are those described in ``gcnlab/analysis/rules.py``.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import stats

YES, NO, OPEN, FEW, NONE = "supported", "contradicted", "inconclusive", "not enough runs", "not run"
METRICS = ("miou", "boundary_accuracy", "internal_accuracy", "top1_error", "top5_error")


class Missing(Exception):
    """A variant was not run."""


def scores_of(record):
    """Scores in percent from the counts of one record; None if it diverged."""
    counts = record["counts"]
    if record.get("diverged"):
        return None
    if "top1_wrong" in counts:
        return {f"top{n}_error": 100 * counts[f"top{n}_wrong"] / counts["images"] for n in (1, 5)}
    matrix = np.array([line.split() for line in counts["confusion"]], float)
    hits = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - hits
    miou = float(np.mean((hits / np.where(union, union, 1))[union > 0]))
    if miou <= matrix.sum(1).max() / matrix.sum() / len(matrix) + 0.01:
        return None
    training = record["config"]
    while training["kind"] != "training":
        training = training["start"]
    (right, near), (all_right, everything) = (
        counts["boundary"][name] for name in (f"{training['boundary_distance']:g}", "all")
    )
    accuracies = {"boundary_accuracy": right / near,
                  "internal_accuracy": (all_right - right) / (everything - near)}  # fmt: skip
    scores = {name: 100 * value for name, value in ({"miou": miou} | accuracies).items()}
    return scores | ({"training_loss": record["history"][-1]["loss"]} if record["history"] else {})


UNKNOWN = "unknown"  # the pair of backbones of a study that has not trained it


class Study:
    """Scores by name (without the seed), metric and seed, from ``folder/runs/*.json``."""

    def __init__(self, folder):
        self.scores, self.diverged, self.keys = {}, {}, {}
        read = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]
        for record in sorted(read, key=lambda record: record["environment"]["finished"]):
            name, _, seed = record["name"].rpartition("-s")
            self.scores.setdefault(name, {})[int(seed)] = scores_of(record)
            self.keys.setdefault(name, {})[int(seed)] = record["key"]
        backbones = {
            name.removeprefix("pretraining-") for name in self.scores if "pretraining" in name
        }
        gcn_form = next((name for name in backbones if name.endswith("_gcn")), None)
        self.pair = (gcn_form.removesuffix("_gcn"), gcn_form) if gcn_form else (UNKNOWN, UNKNOWN)
        widths = {int(n.split("-m")[1]) for n in self.scores if n.startswith("stack-k7-m")}
        narrow = [f"stack-k7-m{m}" for m in sorted(widths)]
        narrow += [f"stack-k7-{UNKNOWN}"] * (2 - len(widths))
        self.stacks = [*narrow, "stack-k7"]  # narrow to wide; Table 4 has three

    def get(self, name, metric="miou"):
        """seed → score of the runs that did not diverge."""
        scores = {s: v[metric] for s, v in self.scores.get(name, {}).items() if v and metric in v}
        if not scores:
            raise Missing(name)
        return scores

    def on(self, head, backbone):
        """The name of a head on a backbone of the pair; on the main backbone it has no addition."""
        name = f"{head}-on-{backbone}"
        return name if name in self.scores or backbone == UNKNOWN else head

    def cell(self, name, metric):
        """mean, standard deviation, n, diverged runs, and keys of one number."""
        group = self.scores.get(name, {})
        values = [v[metric] for v in group.values() if v is not None]
        mean = float(np.mean(values)) if values else None
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return (
            mean,
            spread,
            len(values),
            len(group) - len(values),
            set(self.keys.get(name, {}).values()),
        )


def minus(a, b):
    return {seed: a[seed] - b[seed] for seed in a.keys() & b.keys()}


def interval(values, level=0.95):
    values = list(values)
    if len(values) < 3:
        return (float(np.mean(values)) if values else None), None, None
    low, high = stats.ttest_1samp(values, 0).confidence_interval(level)
    return float(np.mean(values)), float(low), float(high)


def word(values):
    _, low, high = interval(values)
    return FEW if low is None else YES if low > 0 else NO if high < 0 else OPEN


def some_worse(groups):
    """Holm at 1 %: whether the smallest p value of the family is small enough."""
    p = [stats.ttest_1samp(list(g), 0, alternative="less").pvalue for g in groups if len(g) > 2]
    return bool(p) and min(p) <= 0.01 / len(groups)


def mean_of(pairs):
    seeds = set.intersection(*(set(pair) for pair in pairs))
    return [float(np.mean([pair[seed] for pair in pairs])) for seed in sorted(seeds)]


def better(*pairs):
    means = mean_of(pairs)
    down = len(pairs) > 1 and some_worse([pair.values() for pair in pairs])
    return means, NO if down else word(means)


def rises(rows):
    seeds = sorted(set.intersection(*(set(row) for row in rows)))
    table = np.array([[row[seed] for row in rows] for seed in seeds])
    whole = minus(rows[-1], rows[0]).values()
    if len(seeds) < 3:
        return whole, FEW
    up, down = (
        stats.page_trend_test(t, method="asymptotic").pvalue for t in (table, table[:, ::-1])
    )
    if down < 0.025 or some_worse(np.diff(table, axis=1).T):
        return whole, NO
    return whole, YES if up < 0.025 else OPEN


def peak(before, top, after):
    falls = minus(top, after).values()
    return falls, NO if some_worse([minus(top, before).values()]) else word(falls)


def within(values, limit):
    _, low, high = interval(values, 0.9)
    _, wide_low, wide_high = interval(values)
    if low is None:
        return FEW
    return (
        YES
        if -limit < low and high < limit
        else NO
        if wide_low > limit or wide_high < -limit
        else OPEN
    )


def more_inside(study):
    change = {}
    for region in ("internal", "boundary"):
        one, base = (study.get(name, f"{region}_accuracy") for name in ("gcn-k15", "conv1x1"))
        change[region] = {s: 100 * d / (100 - base[s]) for s, d in minus(one, base).items()}
    values = minus(change["internal"], change["boundary"]).values()
    said = word(values)
    return values, OPEN if said == YES and word(change["internal"].values()) != YES else said


def only_near(study):
    gain, inside = (
        minus(
            study.get("gcn-k15-br", f"{r}_accuracy"), study.get("gcn-k15", f"{r}_accuracy")
        ).values()
        for r in ("boundary", "internal")
    )
    words = {word(gain), within(inside, 0.5)}
    return gain, next((w for w in (NO, FEW, OPEN) if w in words), YES)


def classifiers(study):
    few_classes = study.profile not in ("photos", "paper")  # hardly make a top-5 error
    name = "top1_error" if few_classes else "top5_error"
    resnet, gcn = (study.get(f"pretraining-{b}", name) for b in study.pair)
    values = minus(gcn, resnet).values()
    return values, within(values, 1.0)


def gains_on_the_pair(study, head):
    return minus(*(study.get(study.on(head, backbone)) for backbone in study.pair[::-1]))


def smaller_gain(study):
    small, large = gains_on_the_pair(study, "gcn-k15-br"), gains_on_the_pair(study, "conv1x1")
    values = minus(large, small).values()
    return values, NO if some_worse([small.values()]) else word(values)


def steps(study):
    rows = ["stage-1", "stage-2", "stage-3", "stage-3-ms", "stage-3-ms-crf"]
    columns = [[f"conv1x1-voc-{r}" for r in rows[:3]], [f"gcn-k15-voc-{r}" for r in rows[:3]],
               [f"gcn-k15-br-voc-{r}" for r in rows]]  # fmt: skip
    street = next(
        (n.split("-br-")[0] for n in study.scores if n.endswith("-br-street-stage-2")), "?"
    )
    after = ["stage-1", "stage-2", "stage-2-ms", "stage-2-ms-crf"]
    after = after[1:] if study.profile == "photos" else after  # CamVid has no coarse labels
    columns.append([f"{street}-br-street-{r}" for r in after])
    pairs = [minus(study.get(b), study.get(a)) for column in columns for a, b in pairwise(column)]
    return better(*pairs)


def stages(study, one, other):
    names = [f"voc-stage-{i}" for i in (1, 2, 3)]
    return [minus(study.get(f"{one}-{n}"), study.get(f"{other}-{n}")) for n in names]


def ahead_at_every_stage(study):
    parts = [stages(study, "gcn-k15-br", other) for other in ("gcn-k15", "conv1x1")]
    (values, first), (_, second) = (better(*part) for part in parts)
    together = better(*parts[0], *parts[1])[1]
    if {first, second} == {YES} or together != YES:
        return values, YES if {first, second} == {YES} else together
    return values, FEW if FEW in (first, second) else OPEN


def against(study, names, metric="miou", sign=1):
    """GCN minus the other head of the same k, for every name of the other."""
    pairs = []
    for name in names:
        k = name.split("-")[1]
        gcn, other = study.get(f"gcn-{k}", metric), study.get(name, metric)
        pairs.append({seed: sign * d for seed, d in minus(gcn, other).items()})
    return better(*pairs)


def optimisation(study):
    names = ["conv-k7", "conv-k9", "stack-k7", "stack-k9", "stack-k11"]
    return against(study, names, "training_loss", -1)


RULES = {
    1: lambda s: rises([s.get(f"gcn-k{k}") for k in (3, 5, 7, 9, 11, 13, 15)]),
    2: lambda s: better(minus(s.get("gcn-k15"), s.get("conv1x1"))),
    3: lambda s: against(s, [f"conv-k{k}" for k in (3, 5, 7, 9)]),
    4: lambda s: peak(*(s.get(f"conv-k{k}") for k in (3, 5, 9))),
    5: lambda s: against(s, [f"stack-k{k}" for k in (7, 9, 11)]),
    6: lambda s: rises([s.get(name) for name in s.stacks]),
    7: more_inside,
    8: only_near,
    9: classifiers,
    10: lambda s: better(gains_on_the_pair(s, "conv1x1")),
    11: smaller_gain,
    12: steps,
    17: lambda s: against(s, s.stacks),
    18: ahead_at_every_stage,
    19: lambda s: better(
        minus(s.get("gcn-k15-br"), s.get("gcn-k15")), *stages(s, "gcn-k15-br", "gcn-k15")
    ),
    20: optimisation,
}


def verdicts(folder):
    """claim → (word, mean, low, high) of the judged effect; None where there is none."""
    study = Study(Path(folder))
    study.profile = Path(folder).name
    said = {}
    for claim, rule in RULES.items():
        try:
            values, verdict = rule(study)
            said[claim] = (verdict, *interval(values))
        except Missing:
            said[claim] = (NONE, None, None, None)
    return said


if __name__ == "__main__":
    read = Study(Path(sys.argv[1]))
    for group in sorted(read.scores):
        found = {metric for scores in read.scores[group].values() if scores for metric in scores}
        for metric in METRICS:
            if metric in found:
                print(group, metric, *read.cell(group, metric)[:4])
    for number, verdict in verdicts(sys.argv[1]).items():
        print(number, *verdict)
