"""Power and false-alarm rate of every rule, by simulation with the paper's own table as truth."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from gcnlab.analysis.judging import CONTRADICTED, SUPPORTED
from gcnlab.analysis.rules import RULES, Rule, rules_digest
from gcnlab.analysis.scores import Scores, published_scores

# Standard deviation over seeds of one variant's score in points, independent of other variants of
# that seed. The pilot's differences within seeds (results/pilot, two seeds) have about 1.4, that is
# 1.0 of either variant; unconverged networks of the first study had 1.5 to 2.2.
SPREAD = {"miou": 1.0, "boundary_accuracy": 0.6, "internal_accuracy": 0.15, "top5_error": 0.3}
ROUNDS = 1000
FALSE_ALARMS, LEAST_POWER = 0.05, 0.80


def simulate(rule: Rule, rounds: int = ROUNDS, seed: int = 0) -> dict[str, float] | None:
    """Shares of simulated studies with each verdict, if the paper is right and if all variants are
    equal.

    None for a rule that needs no runs, or where the paper gives no number.
    """
    needs, known = rule.test.needs(), published_scores()
    if not needs or any(need not in known for need in needs):
        return None
    generator = np.random.default_rng([seed, rule.claim])
    truth = {need: known[need] for need in needs}
    metrics = {metric for _, metric in needs}
    level = {m: np.mean([v for (_, name), v in truth.items() if name == m]) for m in metrics}
    null = {need: float(level[need[1]]) for need in needs}
    counts = {}
    for name, means in (("paper", truth), ("null", null)):
        verdicts = [_verdict(rule, means, generator) for _ in range(rounds)]
        counts |= {
            f"{word} if {name}": verdicts.count(word) / rounds for word in (SUPPORTED, CONTRADICTED)
        }
    return {
        "power": counts["supported if paper"],
        "contradicted if the paper is right": counts["contradicted if paper"],
        "supported if all are equal": counts["supported if null"],
        "false alarms": counts["contradicted if null"],
    }


def _verdict(rule: Rule, means: dict, generator: np.random.Generator) -> str:
    values = {
        need: dict(enumerate(generator.normal(mean, SPREAD[need[1]], rule.planned_n)))
        for need, mean in means.items()
    }
    return rule.test.judge(Scores(values)).verdict


def simulate_all(rules: Sequence[Rule] = RULES, rounds: int = ROUNDS) -> dict[str, Any]:
    """What ``registered.json`` holds: the rules' digest, the assumed spread, and every
    simulation."""
    simulated = {str(rule.claim): simulate(rule, rounds) for rule in rules}
    return {"rules": rules_digest(), "spread": SPREAD, "rounds": rounds, "claims": simulated}


def registered() -> dict[str, Any]:
    """The committed simulation of the registered rules."""
    text = files("gcnlab.analysis").joinpath("registered.json").read_text(encoding="utf-8")
    return json.loads(text)


def table() -> pd.DataFrame:
    """All rules for reading: claim, test, planned n, power and false alarms, when registered."""
    simulated = registered()["claims"]
    rows = []
    for rule in RULES:
        result = simulated.get(str(rule.claim)) or {}
        shares = [result.get("power"), result.get("false alarms")]
        rows.append(
            {
                "claim": rule.claim,
                "rule": " ".join((type(rule.test).__doc__ or "").split()),
                "planned n": rule.planned_n or "counted",
                "power": shares[0],
                "false alarms": shares[1],
                "registered": rule.registered,
                "changed": rule.changed or "",
            }
        )
    return pd.DataFrame(rows)
