"""The pilot: a schedule has converged if doubling it changes no variant's score by much."""

from dataclasses import replace

import pandas as pd
import pytest

from gcnlab.experiments import pilot, profiles, stack_rates
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.variants import Variant

PHOTOS = profiles.get("photos")
TITLES = [variant.title for variant in pilot.variants(PHOTOS)]


def scored(*rows):
    columns = ["variant", "seed", "steps", "miou"]
    return pd.DataFrame(rows, columns=columns).assign(training_miou=0.0)


def all_at(steps, miou, seed=0):
    return [(title, seed, steps, miou) for title in TITLES]


def test_the_shortest_length_whose_double_adds_little_to_every_variant():
    frame = scored(*all_at(1, 40), *all_at(2, 50), *all_at(4, 51.4), *all_at(8, 51.5))
    assert pilot.converged_steps(frame, PHOTOS) == 2
    assert pilot.converged_steps(scored(*all_at(1, 40), *all_at(2, 41.6)), PHOTOS) is None
    assert pilot.converged_steps(scored(*all_at(1, 40), *all_at(3, 40)), PHOTOS) is None


@pytest.mark.parametrize("missing", TITLES)
def test_a_variant_that_was_not_run_at_both_lengths_leaves_the_question_open(missing):
    whole = scored(*all_at(1, 50), *all_at(2, 50))
    assert pilot.converged_steps(whole, PHOTOS) == 1
    part = whole[(whole["variant"] != missing) | (whole["steps"] == 1)]
    assert pilot.converged_steps(part, PHOTOS) is None
    assert pilot.converged_steps(whole[whole["variant"] != missing], PHOTOS) is None


def test_gains_are_within_seeds():
    """The longer run of one seed beside the mean of two shorter ones would show their spread."""
    frame = scored(*all_at(1, 50, 0), *all_at(1, 40, 1), *all_at(2, 51, 0))
    assert (pilot.gains(frame, PHOTOS).loc[1] == 1).all()
    assert pilot.converged_steps(frame, PHOTOS) == 1


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_profile_is_called_converged_only_where_the_committed_pilot_says_so(profile):
    steps = pilot.converged_steps(pilot.committed(profile), profile)
    assert profile.converged == (steps is not None and steps <= profile.template.schedule.steps)


@pytest.mark.parametrize("name", ["synthetic", "photos"])
def test_only_lengths_and_the_held_out_images_differ_from_the_profile(name):
    profile = profiles.get(name)
    for run in pilot.configs(profile, (profile.template.schedule.steps,)):
        data = replace(run.data, holdout=False)
        own = Variant(run.head, run.k).config(profile, run.seed)
        assert replace(run, data=data, label="") == own


@pytest.mark.parametrize("name", ["smoke", "synthetic", "photos"])
def test_stacks_at_other_rates_differ_in_the_rate_of_their_heads_alone(name):
    profile, rates = profiles.get(name), {}
    runs = stack_rates.configs(profile, (0,))
    for run in runs:
        own = Variant("stack", run.k).config(profile, 0)
        schedule = replace(own.schedule, lr=run.schedule.lr, backbone_lr=run.schedule.backbone_lr)
        assert replace(run, schedule=schedule, data=own.data, label="") == replace(
            own, schedule=schedule
        )
        assert run.schedule.backbone_lr in (own.schedule.backbone_lr, own.schedule.lr)
        if run.data.holdout:
            rates.setdefault(run.k, []).append(own.schedule.lr / run.schedule.lr)
    assert list(rates) == list(stack_rates.KS) and set(map(tuple, rates.values())) == {(1, 4, 16)}
    assert len({run.name for run in runs}) == len(runs)


def test_the_best_rate_is_that_of_the_committed_choice():
    frame = pd.read_csv(pilot.HELD_OUT.with_name("stack-rates.csv"))
    assert set(frame["k"]) == set(stack_rates.KS) and (frame["seed"] == 0).all()
    means = frame.groupby("lr_divisor")["held_out_miou"].mean()
    assert set(means.index) == set(stack_rates.DIVISORS)
    assert means.idxmax() == stack_rates.BEST


def test_an_installation_without_the_committed_pilot_tells_nothing_of_it(monkeypatch, tmp_path):
    assert len(pilot.gaps(PHOTOS)) > 1 and pilot.gaps(profiles.get("smoke")).empty
    monkeypatch.setattr(pilot, "HELD_OUT", tmp_path / "held-out.csv")
    assert pilot.gaps(PHOTOS).empty
