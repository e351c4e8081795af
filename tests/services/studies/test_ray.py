"""A study on two real Ray nodes, one of which is killed. Skipped where Ray is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from benchmarks import studies
from train_embedding.services.studies import Study


@pytest.mark.slow
@pytest.mark.checkpoint
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_the_runs_of_a_dead_node_continue_elsewhere_to_the_same_vectors(tmp_path: Path) -> None:
    study = Study("demo", studies.demo_study(seeds=1, steps=24, images=0).runs[:4])
    alone = studies.one_by_one(study, tmp_path / "one-by-one")
    cluster, active = studies.with_a_dead_node(study, tmp_path / "cluster", after=0)
    assert [each.status for each in cluster] == ["finished"] * 4
    assert len(active) == 2
    assert any(each.result and each.result.resumed for each in cluster if each.run.id in active)
    digests = [[each.result and each.result.vectors_sha256 for each in progress] for progress in (alone, cluster)]
    assert digests[0] == digests[1]
