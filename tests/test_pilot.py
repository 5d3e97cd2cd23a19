"""The pilot: a schedule has converged if doubling it changes no variant's score by much."""

from dataclasses import replace

import pandas as pd
import pytest

from gcnlab.analysis.rules import STACK_KS
from gcnlab.errors import UserError
from gcnlab.experiments import head_rates, pilot, profiles
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.variants import Variant

PHOTOS = profiles.get("photos")
CHOICE = pilot.HELD_OUT.with_name("head-rates.csv")
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


@pytest.mark.parametrize("name", head_rates.PROFILES)
def test_heads_at_other_rates_differ_in_the_rate_of_their_heads_alone(name):
    profile, divisors = profiles.get(name), {}
    runs = head_rates.configs(profile, (0,))
    for run in runs:
        own = Variant(run.head, run.k).config(profile, 0)
        divisor = own.schedule.lr / run.schedule.lr
        divisors.setdefault((run.head, run.k, run.data.holdout), []).append(divisor)
        if divisor != 1:
            assert run.schedule.backbone_lr == (own.schedule.backbone_lr or own.schedule.lr)
        schedule = replace(run.schedule, lr=own.schedule.lr, backbone_lr=own.schedule.backbone_lr)
        assert replace(run, schedule=schedule, data=own.data, label="") == own
    assert divisors == {(head, k, held_out): [1, 4, 16] if held_out else [head_rates.BEST[head]]
                        for held_out in (True, False) for head in head_rates.BEST
                        for k in head_rates.KS}  # fmt: skip
    assert len({run.name for run in runs}) == len(runs)


def test_the_best_rates_are_those_of_the_committed_choice():
    frame, runs = pd.read_csv(CHOICE), head_rates.choice(profiles.get("synthetic"))
    compared = [(*of, run.schedule.lr, run.schedule.steps) for of, run in runs.items()]
    columns = frame[["head", "lr_divisor", "k", "lr", "steps"]]
    assert sorted(columns.itertuples(index=False, name=None)) == sorted(compared)
    assert (frame["seed"] == 0).all() and head_rates.KS == STACK_KS
    means = frame.groupby(["head", "lr_divisor"])["held_out_miou"].mean().unstack()
    assert means.idxmax(axis=1).to_dict() == head_rates.BEST
    with pytest.raises(UserError, match="were chosen for profile synthetic"):
        head_rates.configs(PHOTOS, (0,))


@pytest.mark.parametrize("other", [{"head": None}, {"protocol": "voc"}, {"backbone": "ResNet50"}])
def test_only_a_head_on_the_main_backbone_has_a_rate_of_its_own(other):
    with pytest.raises(ValueError, match="a learning rate of its own"):
        Variant(**{"head": "stack", "k": 7, "lr_divisor": 4} | other)


def test_an_installation_without_the_committed_pilot_tells_nothing_of_it(monkeypatch, tmp_path):
    assert len(pilot.gaps(PHOTOS)) > 1 and pilot.gaps(profiles.get("smoke")).empty
    monkeypatch.setattr(pilot, "HELD_OUT", tmp_path / "held-out.csv")
    assert pilot.gaps(PHOTOS).empty
