"""Which records count: one state of code, data, machine and starting weights, and no other."""

import random
from dataclasses import replace

import numpy as np
import pytest
from made import PHOTOS, SYNTHETIC, made, weights_of

from gcnlab.analysis import selection
from gcnlab.analysis.selection import by_variant, current, field_records_of, is_diverged, is_subset
from gcnlab.analysis.tables import SPECS, all_variants, table_configs
from gcnlab.errors import UserError
from gcnlab.experiments.ablations import ABLATIONS
from gcnlab.experiments.resources import chain
from gcnlab.experiments.variants import Variant

LATER = "2027-02-01T00:00:00+00:00"
GCN, BASE = Variant("gcn", 15), Variant("conv1x1")
ON_GCN = Variant("conv1x1", backbone="ResNet50-GCN")
LOW_DATA = next(a for a in ABLATIONS if a.low_data and a.head == "conv")


def wanted(profile=SYNTHETIC, seeds=3):
    runs = table_configs(list(SPECS), profile, range(seeds))
    runs += [a.config(profile, seed) for a in ABLATIONS for seed in range(seeds)]
    return {link for run in runs for link in chain(run)}


def with_start(config, *args, **options):
    """Records of a run and of all that it starts from."""
    return [made(link, *args, **options) for link in chain(config)][::-1]


def counted(records, runs=None):
    return {r["key"] for r in current(records, runs or wanted())}


def keys(records):
    return {record["key"] for record in records}


def test_records_of_all_tables_and_ablations_count_in_any_order():
    records = [made(run) for run in wanted(seeds=2)]
    random.Random(0).shuffle(records)
    assert counted(records, wanted(seeds=2)) == keys(records)
    assert counted(records, wanted(PHOTOS)) == set()


@pytest.mark.parametrize("change", [
    {"training_version": 1}, {"training_version": 99}, {"evaluation_version": 99},
])  # fmt: skip
@pytest.mark.parametrize("config", [GCN.config(SYNTHETIC, 0), LOW_DATA.config(SYNTHETIC, 0)],
                         ids=["table", "ablation"])  # fmt: skip
def test_records_of_another_version_are_stale(change, config):
    name, value = next(iter(change.items()))
    stale = {"identity": change} if name == "training_version" else change
    records = with_start(config)
    assert counted(records) == keys(records)
    old = [*records[:-1], made(config, finished=LATER, **stale)]
    assert counted(old) == keys(records[:-1]), f"{name} {value}"


def test_a_record_of_another_config_is_stale():
    config = GCN.config(SYNTHETIC, 0)
    longer = replace(config, schedule=replace(config.schedule, steps=config.schedule.steps + 1))
    records = with_start(config)
    assert counted([*records, made(longer)]) == keys(records)


@pytest.mark.parametrize("part", ["data", "device", "precision", "threads"])
def test_no_cell_mixes_two_states(part):
    """Of two states of the data the newest counts, of two arithmetics the more frequent."""
    configs = [GCN.config(SYNTHETIC, seed) for seed in range(3)]
    old = [record for config in configs for record in with_start(config)]
    other = {"threads": 2}.get(part, "other")
    new = with_start(configs[0], finished=LATER, identity={part: other})
    new[-1]["identity"]["start"] = new[0]["weights"]
    assert counted([*old, *new]) == keys(new if part == "data" else old)


def test_what_starts_from_a_run_that_does_not_count_does_not_count():
    """Pre-training again, with other weights: what started from the old ones counts in no cell."""
    config = ON_GCN.config(SYNTHETIC, 0)
    start, run = with_start(config)
    again = made(config.start, finished=LATER, weights="f" * 32)
    assert counted([start, run]) == keys([start, run])
    assert counted([start, run, again]) == keys([again])
    follows = made(config, 0.7, finished=LATER, identity={"start": "f" * 32})
    assert counted([start, run, again, follows]) == keys([again, follows])
    assert counted([run]) == set(), "its start is missing"


def test_a_stage_takes_those_after_it_along():
    crf = next(r for r in table_configs(["7"], SYNTHETIC, [0]) if r.kind == "crf")
    records = with_start(crf)
    assert counted(records) == keys(records)
    for lost in range(len(records) - 1):
        rest = records[:lost] + records[lost + 1 :]
        assert counted(rest) == keys(records[:lost])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_newest_record_of_a_run_counts(reverse):
    config = GCN.config(SYNTHETIC, 0)
    start, _ = with_start(config)
    records = [
        start,
        *(made(config, finished=f"2026-12-{day}T00:00:00+00:00") for day in ("31", "07")),
    ]
    assert counted(records[::-1] if reverse else records) == keys([start, records[1]])


def test_records_by_variant_come_in_the_order_of_seeds():
    records = [made(v.config(SYNTHETIC, seed)) for seed in (7, 0, 3) for v in (GCN, BASE)]
    groups = by_variant(SYNTHETIC, records, all_variants())
    assert {GCN, BASE} <= groups.keys() and Variant("gcn", 7) not in groups
    assert all([selection.seed_of(r) for r in group] == [0, 3, 7] for group in groups.values())


def test_receptive_fields_count_if_their_weights_and_version_do():
    config = GCN.config(SYNTHETIC, 0)
    record = made(config)
    field = {
        "identity": {"weights": weights_of(config)},
        "evaluation_version": record["evaluation_version"],
    }
    stale = [field | {"identity": {"weights": "f" * 32}}, field | {"evaluation_version": 99}]
    assert field_records_of([field, *stale], [record]) == [field]


def test_counts_give_the_scores_again():
    record = made(GCN.config(SYNTHETIC, 0), 0.63, 0.7, 0.9)
    matrix, images = selection.confusion(record), selection.per_image_counts(record)
    total = np.stack([np.diag(matrix), matrix.sum(0), matrix.sum(1)], 1)
    assert np.array_equal(images.sum(0), total)
    iou = total[:, 0] / (total[:, 1] + total[:, 2] - total[:, 0])
    assert 100 * iou.mean() == pytest.approx(selection.metric(record, "miou"))
    assert selection.boundary_accuracies(record, "5") == pytest.approx((70, 92.3), abs=0.1)
    record["counts"]["boundary"] = {"all": [5, 9], "5": [5, 9], "3": [0, 0]}
    assert selection.boundary_accuracies(record, "5") == pytest.approx(
        (500 / 9, np.nan), nan_ok=True
    )
    assert selection.boundary_accuracies(record, "3") == pytest.approx(
        (np.nan, 500 / 9), nan_ok=True
    )


@pytest.mark.parametrize(("value", "expected"), [(0.5, 50), (None, np.nan)])
def test_an_undefined_score_is_no_number(value, expected):
    record = made(GCN.config(SYNTHETIC, 0))
    record["metrics"]["miou"] = value
    assert selection.metric(record, "miou") == pytest.approx(expected, nan_ok=True)
    assert np.isnan(selection.metric(record, "no such score"))


def test_divergence_is_a_loss_that_exploded_or_a_score_at_chance():
    config = GCN.config(SYNTHETIC, 0)
    assert not is_diverged(made(config, 0.2)) and is_diverged(made(config, 0.02))
    assert is_diverged(made(config, diverged="the loss is nan", counts={}, metrics={}))
    assert not is_diverged(made(config.start, 0.02)), "a classifier's errors are counted otherwise"


def test_a_part_of_the_official_data_is_told():
    record = made(GCN.config(SYNTHETIC, 0))
    assert not is_subset(record)
    assert is_subset(record | {"images": {"train": 5, "val": 2}})


def test_a_config_of_another_version_names_its_record(caught):
    record = made(GCN.config(SYNTHETIC, 0))
    record["config"] |= {"colour": "red"}
    with pytest.raises(UserError) as info:
        current([record], wanted(seeds=1))
    assert f"{record['name']}-{record['key']}.json" in caught(info)
