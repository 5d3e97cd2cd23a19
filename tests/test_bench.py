"""The bench: two versions that differ are refused, and what is measured says of what."""

import pytest
import torch

from gcnlab.experiments import bench


def test_medians_and_ratios_of_alternating_versions(monkeypatch):
    def version(name, *seconds):
        remaining = iter(seconds)

        def call():
            calls.append(name)
            now[0] += next(remaining)

        return call

    now, calls = [0.0], []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: now[0])
    versions = {"plain": version("p", 9, 3, 5, 4), "ours": version("o", 9, 1, 1, 2)}
    result = bench.compare(versions, 3)
    assert "".join(calls) == "po" * 4, "one round to warm up"
    assert result == {"seconds": {"plain": 4, "ours": 1}, "plain / ours": 3}


def test_versions_that_differ_are_refused():
    bench._assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]), 1e-3)
    with pytest.raises(AssertionError, match="differ"):
        bench._assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), 1e-3)


@pytest.mark.slow
def test_a_part_without_its_package_is_left_out_and_named(monkeypatch):
    def missing(name):
        raise ImportError(name=name)

    monkeypatch.setattr(bench, "import_module", missing)
    monkeypatch.setattr(bench, "_memory", lambda side: {"ours / plain": 0.5})
    result = bench.measure(64, 1, log=lambda _: None)
    assert result["skipped"].keys() == {"metrics", "occlusion", "occlusion, BR"}
    assert all("pip install" in why for why in result["skipped"].values())
    assert {"loader", "training step", "inference", "memory"} == result["results"].keys()
    assert result["versions"]["torch"] and result["machine"]["threads"] >= 1
    assert result["share of it in a step"] > 0
