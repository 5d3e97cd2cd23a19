"""Paper cell → config: the same networks in every profile, seeds of everything, staged training."""

from dataclasses import replace

import pytest

from gcnlab.analysis.tables import SPECS, all_variants, table_configs
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining
from gcnlab.experiments.profiles import PROFILES, get
from gcnlab.experiments.variants import BACKBONES, Variant

MAIN = ["1", "2", "3", "4", "5"]  # the tables of one backbone
NARROW = {128: (64, 13), 512: (256, 52), 2048: (1024, 210)}  # m of Table 4: a half, a tenth
every_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))


@every_profile
def test_tables_1_to_5_differ_in_their_head_only(profile):
    runs = table_configs(MAIN, profile, [0])
    assert len(runs) == len({(r.head, r.k, r.m, r.refine) for r in runs})
    blank = {"head": "conv1x1", "k": None, "m": None, "refine": False}
    assert {replace(run, **blank) for run in runs} == {profile.template}


@every_profile
def test_the_seed_is_that_of_the_pre_training_too(profile):
    for run in table_configs(list(SPECS), profile, [3]):
        while run is not None and not isinstance(run, str):
            assert run.seed == 3
            run = run.start


@every_profile
def test_table_6_compares_two_backbones_trained_by_one_recipe(profile):
    one, other = (Variant(backbone=b).config(profile, 2) for b in BACKBONES)
    assert replace(other, backbone=one.backbone) == one
    assert other.backbone == one.backbone.removesuffix("_v1") + "_gcn"
    for head, k in (("conv1x1", None), ("gcn", 15)):
        pair = [Variant(head, k, backbone=b).config(profile, 2) for b in BACKBONES]
        assert [run.start for run in pair] == [one, other]
        assert (
            replace(pair[1], backbone=pair[0].backbone, start=one, label=pair[0].label) == pair[0]
        )


@every_profile
def test_m_is_a_share_of_the_profiles_own_channels(profile):
    top = profile.top_channels
    widths = [Variant("stack", 7, m).config(profile, 0).m for m in (1.0, 0.5, 210 / 2048)]
    assert widths == [None, *NARROW[top]]


@every_profile
def test_each_stage_starts_from_the_one_before(profile):
    for table, protocol in (("7", "voc"), ("9", "street")):
        for run in table_configs([table], profile, [1]):
            stages, training = profile.protocols[protocol].stages, run.training
            for stage in reversed(stages[: [s.data for s in stages].index(training.data) + 1]):
                assert (training.data, training.schedule) == (stage.data, stage.schedule)
                assert training.label.endswith(stage.name.lower())
                last, training = training, training.start
                assert (last.head, last.k, last.refine) == (
                    run.training.head,
                    run.training.k,
                    run.training.refine,
                )
            start = profile.template.start
            assert training == (replace(start, seed=1) if isinstance(start, PreTraining) else start)
            if isinstance(run, CrfEvaluation):
                assert isinstance(run.start, Evaluation) and run.start.test_time.flip


def test_a_stage_that_a_profile_lacks_is_no_run():
    stage = Variant("gcn", 25, refine=True, protocol="street", stage="Stage-1")
    assert stage.config(get("photos"), 0) is None and stage.config(get("paper"), 0)
    assert replace(stage, protocol="moon").config(get("paper"), 0) is None


def test_a_stack_of_one_convolution_is_the_trivial_convolution():
    assert Variant("stack", 3, 1.0) == Variant("conv", 3) and Variant("stack", 7, 1.0) == Variant(
        "stack", 7
    )
    assert Variant("gcn", 7, 0.5) == Variant("gcn", 7), "only a stack has an m"


def test_titles_tell_the_variants_of_a_table_apart():
    for spec in SPECS.values():
        titles = [(v.title, v.backbone, v.stage) for v in spec.variants()]
        assert len(set(titles)) == len(titles), spec.name
    titles = {v.title for v in all_variants()}
    assert {
        "1×1",
        "GCN 15",
        "GCN 15 + BR",
        "9×9",
        "stack 7, m/2",
        "stack 7, m/10",
        "classifier",
    } <= titles


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_found_by_name(name):
    profile = get(name)
    assert (
        (profile.name, profile.template.profile) == (name, name)
        and profile.title
        and profile.description
    )
    assert profile.evidence == (name != "smoke")
