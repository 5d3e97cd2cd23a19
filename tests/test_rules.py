"""The registered rules: one for each claim, fixed by a digest, with power and few false alarms."""

from dataclasses import replace
from math import sqrt

import pytest

from gcnlab import paper
from gcnlab.analysis import power, rules
from gcnlab.analysis.comparisons import Better
from gcnlab.analysis.power import registered, simulate
from gcnlab.analysis.rules import RULES, Rule, rule_for, rules_digest
from gcnlab.analysis.tables import all_variants
from gcnlab.experiments.profiles import get
from gcnlab.experiments.variants import Variant

ROUNDS = 150
SLOW = (13, 21)  # simulated object by object
SIMULATED = [rule.claim for rule in RULES if simulate(rule, rounds=1)]


def tolerance(share, rounds):
    """Two standard deviations of a simulated share."""
    return 2 * sqrt(max(share * (1 - share), 1 / rounds) / rounds)


def test_every_claim_has_one_rule():
    assert [rule.claim for rule in RULES] == [claim["id"] for claim in paper.claims()]
    assert all(rule_for(rule.claim) is rule and rule.registered for rule in RULES)
    assert all(rule.planned_n >= 3 or not rule.test.needs() for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.claim))
def test_the_tables_fill_what_a_rule_needs(rule):
    variants = {variant for variant, _ in rule.test.needs()}
    assert variants <= set(all_variants())
    assert all(variant.config(get("synthetic"), 0) for variant in variants)


def test_rules_are_those_that_were_registered():
    assert registered()["rules"] == rules_digest(), (
        "register anew: python -m gcnlab rules --simulate"
    )
    assert set(registered()["claims"]) == {str(rule.claim) for rule in RULES}


@pytest.mark.parametrize("change", [
    {"planned_n": 7}, {"test": replace(rule_for(8).test, limit=0.6)}, {"changed": "yesterday"},
    {"test": replace(rule_for(8).test, better=Variant("gcn", 13))},
])  # fmt: skip
def test_no_change_of_a_rule_leaves_the_digest(change, monkeypatch):
    before = rules_digest()
    assert rules_digest() == before
    changed = [replace(r, **change) if r.claim == 8 else r for r in RULES]
    monkeypatch.setattr(rules, "RULES", tuple(changed))
    assert rules_digest() != before


FALSE_ALARMS, LEAST_POWER = 0.05, 0.80


def test_all_but_what_is_counted_is_simulated():
    counted = {rule.claim for rule in RULES if rule.test.__module__.endswith("counted")}
    assert set(SIMULATED) == {rule.claim for rule in RULES} - counted
    for rule in RULES:
        assert (registered()["claims"][str(rule.claim)] is None) == (rule.claim in counted)


@pytest.mark.parametrize("claim", SIMULATED)
def test_no_rule_is_a_bad_rule(claim):
    """Seldom *contradicted* where all are equal, mostly *supported* where the paper is right."""
    shares, rounds = registered()["claims"][str(claim)], registered()["rounds"]
    assert shares["power"] >= LEAST_POWER - tolerance(LEAST_POWER, rounds)
    allowed = FALSE_ALARMS + tolerance(FALSE_ALARMS, rounds)
    assert shares["false alarms"] <= allowed
    assert shares["contradicted if the paper is right"] <= allowed
    equality = claim == 9  # "about the same" is what holds if all are equal
    assert (shares["supported if all are equal"] <= allowed) != equality


@pytest.mark.parametrize("claim", SIMULATED)
def test_simulating_again_agrees_with_what_was_registered(claim):
    rounds = ROUNDS // 5 if claim in SLOW else ROUNDS
    rule = rule_for(claim)
    again = simulate(rule, rounds, seed=1)
    again["power at three seeds"] = simulate(replace(rule, planned_n=3), rounds, seed=1)["power"]
    for name, share in registered()["claims"][str(claim)].items():
        assert again[name] == pytest.approx(share, abs=2.5 * tolerance(share, rounds)), name


def test_a_bad_rule_would_be_seen():
    hopeless = Rule(1, Better(((Variant("gcn", 7), Variant("gcn", 5)),)), 3)  # 0.2 points, 3 seeds
    assert simulate(hopeless, ROUNDS)["power"] < 0.2
    generous = simulate(replace(rule_for(2), planned_n=12), ROUNDS)
    assert generous == simulate(replace(rule_for(2), planned_n=12), ROUNDS), "seeded"
    assert generous["power"] == 1 and generous["false alarms"] < 0.08


def test_the_assumed_spread_is_registered_too():
    assert registered()["spread"] == power.SPREAD
    assert {name for rule in RULES for _, name in rule.test.needs()} == set(power.SPREAD)
