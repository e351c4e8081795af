"""Studies with datasets, checkpoints and results at fsspec addresses: in memory, and in a folder of this machine."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.services.studies.conftest import OpenHost
from tests.services.studies.test_studies import OPTIONS, planned
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.training import resume
from train_embedding.errors import NotFound, StorageFailed
from train_embedding.services.studies import addresses
from train_embedding.services.studies.addresses import SavedRun, local_copy
from train_embedding.services.studies.carrying_out import carry_out, vectors_sha256
from train_embedding.services.studies.plan import InvalidStudy, Study
from train_embedding.services.studies.reading import Given, folder_study
from train_embedding.services.studies.report import write_report
from train_embedding.services.studies.results import Results, RunResult, read_result
from train_embedding.services.studies.scheduling import ThisProcess, carry_out_study


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the copies."""
    monkeypatch.setenv(addresses.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["memory", "local"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty folder at an address. "local" is the file system of this machine, under the name that is not taken for a path."""
    memory = fsspec.filesystem("memory")
    yield "memory://bucket" if request.param == "memory" else f"local://{(tmp_path / 'storage').as_posix()}"
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


def upload(folder: Path, address: str) -> str:
    """Copy a folder to an address."""
    for file in folder.rglob("*"):
        if file.is_file():
            addresses.write(f"{address}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return address


def archives(address: str) -> list[str]:
    system, path = fsspec.core.url_to_fs(address)
    return sorted(name.rpartition("/")[2] for name in system.ls(path, detail=False))


def test_a_copy_is_made_once_and_again_when_a_file_has_changed(subjects: Path, address: str) -> None:
    place = upload(subjects / "anna", f"{address}/data/anna")
    copy = local_copy(place)
    assert copy.name == "anna"
    assert (copy / "1.png").read_bytes() == (subjects / "anna" / "1.png").read_bytes()
    assert local_copy(place) == copy
    (copy / "1.png").write_bytes(b"kept")
    assert (local_copy(place) / "1.png").read_bytes() == b"kept"
    addresses.write(f"{place}/2.png", b"new")
    again = local_copy(place)
    assert sorted(file.name for file in again.iterdir()) == ["1.png", "2.png"]
    assert local_copy(f"{place}/2.png").read_bytes() == b"new"


def test_the_configuration_beside_a_checkpoint_is_copied_too(address: str) -> None:
    addresses.write(f"{address}/model.safetensors", b"weights")
    copy = local_copy(f"{address}/model.safetensors")
    assert [file.name for file in copy.parent.iterdir()] == ["model.safetensors"]
    addresses.write(f"{address}/model.yaml", b"config")
    copy = local_copy(f"{address}/model.safetensors")
    assert copy.with_suffix(".yaml").read_bytes() == b"config"


def test_what_is_wrong_with_an_address_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"nothing-here.* does not exist"):
        local_copy(f"{address}/nothing-here")
    with pytest.raises(StorageFailed, match=r"nowhere.*Protocol not known"):
        local_copy("nowhere://bucket")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(NotFound, match=r"fsspec is not installed.*\[cluster\]"):
        local_copy(address)


def test_the_newest_complete_archive_is_read(tmp_path: Path, address: str) -> None:
    place = f"{address}/runs/a"
    first, second = SavedRun(place), SavedRun(place)
    first.fetch(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    RunResult("stopped", step=1).save(tmp_path / "first")
    first.save(tmp_path / "first")
    second.fetch(tmp_path / "second")
    assert read_result(tmp_path / "second") == RunResult("stopped", step=1)
    RunResult("stopped", step=2).save(tmp_path / "second")
    second.save(tmp_path / "second")
    assert [name[:11] for name in archives(place)] == ["0002-000001"]

    # A worker that was taken for dead saves the run again, and an upload breaks off.
    first.save(tmp_path / "first")
    addresses.write(f"{place}/0009-000001-00000000.zip", b"PK half of an archive")
    third = SavedRun(place)
    third.fetch(tmp_path / "third")
    assert read_result(tmp_path / "third") == RunResult("stopped", step=2)
    third.save(tmp_path / "third")
    assert [name[:11] for name in archives(place)] == ["0010-000001"]


@pytest.mark.slow
def test_a_study_at_addresses(subjects: Path, tmp_path: Path, address: str, open_host: OpenHost) -> None:
    place = upload(subjects, f"{address}/subjects")
    given = Given(init_text="red", vectors=1, options={name: str(value) for name, value in OPTIONS.items()})
    study = folder_study(place, given)
    assert [(run.embedding, run.dataset) for run in study.runs] == [("anna", f"{place}/anna"), ("ben", f"{place}/ben")]
    results, workers = Results(f"{address}/results", study), ThisProcess(open_host)
    with results.hold():
        progress = carry_out_study(results, workers)
        assert write_report(results, progress, {}) == f"{address}/results/report.html"
    assert [(each.status, each.step) for each in progress] == [("finished", 2)] * 2
    assert local_copy(f"{address}/results/report.html").read_text(encoding="utf-8").count("<img") == 4
    vectors = read_embedding(local_copy(f"{address}/results/embeddings/anna.pt")).vectors
    assert vectors_sha256(vectors) == progress[0].result.vectors_sha256

    # The same runs with paths, and the same command once more.
    run = replace(study.runs[0], dataset=str(subjects / "anna"), images=0)
    assert carry_out(run, str(tmp_path / "alone"), open_host).vectors_sha256 == progress[0].result.vectors_sha256
    again = Results(f"{address}/results", study)
    assert again.unfinished() == []
    assert carry_out_study(again, workers) == [replace(each, state=again.progress()[i].state) for i, each in enumerate(progress)]
    workers.close()


@pytest.mark.slow
def test_the_run_of_a_killed_worker_continues_to_the_same_vectors(
    subjects: Path, tmp_path: Path, open_host: OpenHost, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = upload(subjects / "anna", f"{address}/anna")
    run = planned(subjects, images=0)
    run = replace(run, dataset=dataset, written=dataset, options={**run.options, "steps": 8})
    left = f"{address}/left/{run.id}"
    half_done, copied = threading.Event(), threading.Event()
    save_resume, save = resume.save_resume, SavedRun.save

    def pausing(folder: Path, state: Any, circumstances: Any) -> None:
        if state.step == 4:
            half_done.set()
        save_resume(folder, state, circumstances)
        if state.step == 4:
            assert copied.wait(120)

    def watched(saved: SavedRun, folder: Path) -> None:
        save(saved, folder)
        if half_done.is_set() and not copied.is_set():  # what a worker leaves that is killed now
            system, path = fsspec.core.url_to_fs(f"{address}/whole/{run.id}")
            for name in system.ls(path, detail=False):
                addresses.write(f"{left}/{name.rpartition('/')[2]}", system.cat_file(name))
            copied.set()

    monkeypatch.setattr(resume, "save_resume", pausing)
    monkeypatch.setattr(SavedRun, "save", watched)
    whole = carry_out(run, f"{address}/whole/{run.id}", open_host)
    monkeypatch.undo()
    monkeypatch.setenv(addresses.CACHE_VARIABLE, str(tmp_path / "the cache of another worker"))
    before = Results(f"{address}/left", Study("test", (run,)))
    assert before.run_place(run) == f"{address}/left/runs/{run.id}"
    continued = carry_out(run, left, open_host)
    assert (whole.status, whole.resumed, continued.status, continued.resumed) == ("finished", 0, "finished", 1)
    assert continued.vectors_sha256 == whole.vectors_sha256


def test_bad_addresses_are_problems_of_the_study(address: str, tmp_path: Path) -> None:
    addresses.write(f"{address}/subjects/anna/1.png", b"not an image")
    with pytest.raises(InvalidStudy, match="anna"):
        folder_study(f"{address}/subjects", Given())
    with pytest.raises(InvalidStudy, match=r"missing.safetensors.* does not exist"):
        folder_study(f"{address}/subjects", Given(checkpoint=f"{address}/missing.safetensors"))
    with pytest.raises(NotFound):
        folder_study(f"{address}/others", Given())
