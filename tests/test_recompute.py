"""What the package says of a study is what an independent script reads in the raw records."""

import ast
from pathlib import Path

import numpy as np
import pytest
import recompute
from made import PHOTOS, SYNTHETIC, made, save

from gcnlab.analysis import claims
from gcnlab.analysis.selection import current
from gcnlab.analysis.tables import SPECS, all_variants, compare, table_configs
from gcnlab.experiments import records
from gcnlab.experiments.config import PreTraining
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.resources import chain
from gcnlab.experiments.variants import Variant


def test_it_shares_no_code():
    names = set()
    for node in ast.walk(ast.parse(Path(recompute.__file__).read_text(encoding="utf-8"))):
        names |= {a.name for a in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
    assert {name.split(".")[0] for name in names} <= {
        "json",
        "sys",
        "itertools",
        "pathlib",
        "numpy",
        "scipy",
    }


def compare_cells(profile, own, study):
    for table in SPECS:
        frame = compare(table, profile, {"study": own})
        for cell in frame[frame["metric"] != "parameters_k"].itertuples():
            config = Variant.of_cell(cell).config(profile, 0)
            name = config.variant if config else "?"
            mean, spread, n, diverged, keys = study.cell(name, cell.metric)
            assert (n, diverged, keys) == (
                cell.study_n,
                cell.study_diverged,
                set(cell.study_keys),
            ), cell
            shown = [np.nan if x is None else x for x in (mean, spread)]
            assert [cell.study_mean, cell.study_std] == pytest.approx(shown, nan_ok=True), cell


def compare_verdicts(profile, own, again):
    judged = [verdict for verdict in claims.judge(profile, own) if verdict.id in again]
    assert len(judged) == len(again), "13 and 21 are of fields, 14 to 16 need no runs"
    for verdict in judged:
        word, *numbers = again[verdict.id]
        assert verdict.verdict == word, (verdict, numbers)
        if verdict.effects:
            effect = verdict.effects[0]
            shown = [np.nan if x is None else x for x in numbers]
            assert [effect.mean, effect.low, effect.high] == pytest.approx(shown, nan_ok=True), (
                verdict
            )


def invented(profile, number):
    """Records of all tables: scores near each other, unequal sets of seeds, some runs diverged."""
    random = np.random.default_rng(number)
    spread, own = (0.2, 0.5, 1.5, 4.0)[number % 4], []
    variants = {v.config(profile, 0): v for v in all_variants() if v.config(profile, 0)}
    for variant in variants.values():
        level = random.normal(60, 1.5) if number % 2 else 60 + 0.1 * (variant.k or 0)
        seeds = sorted(random.permutation(7)[: random.integers(2, 8) if number > 4 else 7])
        for seed in seeds:
            run = variant.config(profile, int(seed))
            numbers = (min(98, random.normal(m, spread)) / 100 for m in (level, 70, 90))
            record = made(run, *numbers, loss=random.normal(0.5, 0.05))
            if random.random() < 0.04 and not isinstance(run, PreTraining):
                record = made(run, 0.02)
            own.append(record)
    return own


def test_made_up_studies_are_read_alike(tmp_path):
    words = set()
    for number in range(8):
        profile, out = PHOTOS if number == 4 else SYNTHETIC, tmp_path / str(number)
        own, folder = invented(profile, number), out / profile.name
        for record in own:
            save(record, out, profile.name)
        read = records.read_all(out, profile.name)
        assert len(read) == len(own)
        compare_cells(profile, read, recompute.Study(folder))
        again = recompute.verdicts(folder)
        compare_verdicts(profile, read, again)
        words |= {word for word, *_ in again.values()}
    assert {recompute.YES, recompute.NO, recompute.OPEN, recompute.FEW} <= words


def test_a_changed_count_is_seen(tmp_path):
    own = invented(SYNTHETIC, 0)
    for record in own:
        save(record, tmp_path)
    chosen = next(r for r in own if r["name"] == "gcn-k15-s0")
    chosen["counts"]["confusion"][0] = "1 " + chosen["counts"]["confusion"][0].split(" ", 1)[1]
    save(chosen, tmp_path)
    with pytest.raises(AssertionError):
        compare_cells(
            SYNTHETIC,
            records.read_all(tmp_path, "synthetic"),
            recompute.Study(tmp_path / "synthetic"),
        )


@pytest.mark.parametrize("name", PROFILES)
def test_committed_studies_are_read_alike(name):
    folder, profile = records.COMMITTED / name, PROFILES[name]
    if not (folder / records.MANIFEST).is_file():
        pytest.skip(f"no records of profile {name} are committed")
    runs = {link for run in table_configs(list(SPECS), profile, range(20)) for link in chain(run)}
    own = current(records.read_all(records.COMMITTED, name), runs)
    study = recompute.Study(folder)
    compare_cells(profile, own, study)
    if profile.evidence:
        compare_verdicts(profile, own, recompute.verdicts(folder))
