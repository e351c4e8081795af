"""The state of a run on disk: whole, readable, and honest about a process that died."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.messages import msg
from train_embedding.services.run_records import ACTIVE, MAX_POINTS, STATE_FILE, STATUSES, RunState, load_state, thinned


@pytest.fixture
def state(tmp_path: Path) -> RunState:
    folder = tmp_path / "20261122-120000-000"
    folder.mkdir()
    return RunState(
        id=folder.name,
        embedding="剣",
        folder=folder,
        spec=TrainingSpec("剣", "/pictures", template=("[name]",)),
        checkpoint="v1-5",
        status="finished",
        step=7,
        steps=8,
        loss=0.25,
        rate=0.005,
        seconds=1.5,
        eta_seconds=0.5,
        eta_at_most=20.0,
        losses=((1, 0.5), (7, 0.25)),
        evaluations=((0, 1.0, 0.4), (7, 0.75, 0.3)),
        best_step=7,
        saved_step=7,
        start_words=(("cat", 0.3, 16), ("", 0.4, 4)),
        previews=(folder / "previews" / "0000000.png",),
        files=(folder / "a.pt",),
        notes=("One.", "Two."),
        lasting=("Two.",),
        error="An error.",
        hint="A hint.",
    )


def save_values(state: RunState, **changes: Any) -> None:
    """Write the state's file with other JSON values, as another version may have."""
    (state.folder / STATE_FILE).write_text(json.dumps({**state.to_json(), **changes}))


def test_what_is_saved_comes_back(state: RunState) -> None:
    assert all(getattr(state, field.name) for field in fields(RunState))
    state.save()
    assert load_state(state.folder) == state


def test_saved_sentences_can_still_be_translated(state: RunState) -> None:
    note, failure = msg("{name} is already taken.", name="my-cat"), msg("The loss became NaN at step {step}.", step=20)
    replace(state, notes=(), lasting=(), error=failure).noting(note, lasting=True).save()
    loaded = load_state(state.folder)
    assert [(text.key, text.values["name"]) for text in (*loaded.notes, *loaded.lasting)] == [(note.key, "my-cat")] * 2
    assert (loaded.error.key, loaded.error.values) == (failure.key, {"step": 20})
    assert (loaded.to_json()["notes"], loaded.to_json()["error"]) == ([str(note)], str(failure))


def test_an_option_that_no_longer_exists_is_left_out(state: RunState) -> None:
    save_values(state, spec={**state.spec.to_json(), "compile": True})
    assert load_state(state.folder) == state


def test_options_under_the_names_of_earlier_versions_are_read(state: RunState) -> None:
    spec = replace(state.spec, ema_decay=0.5, random_flip=True)
    old = {name: value for name, value in spec.to_json().items() if name not in ("ema_decay", "random_flip")}
    save_values(state, spec={**old, "average": 0.5, "flip": True, "compile": True})
    assert load_state(state.folder).spec == spec


@pytest.mark.parametrize("spec", [5, "compile", ["compile"], None, {}, {"embedding": "sword"}])
def test_a_spec_that_cannot_be_read_is_no_run(state: RunState, spec: Any) -> None:
    save_values(state, spec=spec)
    with pytest.raises(ValueError):  # noqa: PT011, whose sentence nobody reads
        load_state(state.folder)


def test_a_spec_that_is_refused_says_why(state: RunState) -> None:
    save_values(state, spec={**state.spec.to_json(), "steps": -1})
    with pytest.raises(ValueError, match="steps"):
        load_state(state.folder)


def test_snapshots_are_no_result(state: RunState, tmp_path: Path) -> None:
    assert state.result == state.files[0]
    snapshot = tmp_path / state.id / "snapshots" / "a-5.pt"
    assert replace(state, files=(snapshot,)).result is None
    assert replace(state, files=()).result is None


def test_json_says_whether_it_is_active(state: RunState) -> None:
    for status in STATUSES:
        values = replace(state, status=status).to_json()
        assert values["active"] == (status in ACTIVE)
        json.dumps(values)


@pytest.mark.parametrize("status", ACTIVE)
def test_a_run_whose_process_died_was_interrupted(state: RunState, status: str) -> None:
    replace(state, status=status, error="", hint="").save()
    loaded = load_state(state.folder)
    assert loaded.status == "interrupted"
    assert not loaded.active
    assert loaded.eta_seconds is None
    assert loaded.error == "The program ended before the run did."
    assert loaded.hint == "Resume it to continue from where it was last saved."


@pytest.mark.parametrize("status", ["finished", "stopped", "failed", "interrupted"])
def test_a_run_that_ended_stays_as_it_is(state: RunState, status: str) -> None:
    ended = replace(state, status=status)
    ended.save()
    assert load_state(state.folder) == ended


def test_a_folder_that_was_moved(state: RunState, tmp_path: Path) -> None:
    state.save()
    state.folder.rename(tmp_path / "elsewhere")
    loaded = load_state(tmp_path / "elsewhere")
    assert (loaded.id, loaded.folder) == ("elsewhere", tmp_path / "elsewhere")


def test_fields_of_other_versions_are_ignored(state: RunState) -> None:
    values = {**state.to_json(), "colour": "red"}
    del values["rate"]
    (state.folder / STATE_FILE).write_text(json.dumps(values))
    assert load_state(state.folder) == replace(state, rate=None)


_NEEDED = {"id": "x", "embedding": "y", "folder": "z", "spec": {"embedding": "y", "dataset": "/pictures"}}
_WRONG: list[dict[str, Any]] = [
    {"losses": 5},
    {"losses": [[1]]},
    {"losses": [["a", "b"]]},
    {"files": [5]},
    {"notes": 5},
    {"step": "many"},
    {"step": None},
    {"status": "resting"},
    {"status": []},
    {"spec": {"embedding": "y"}},
]
CORRUPT: list[str | bytes] = [
    "",
    "{",
    "[]",
    "5",
    "null",
    "{}",
    '{"id": "x"}',
    *(json.dumps({**_NEEDED, **values}) for values in _WRONG),
    b"\xff\xfe{",
    b"\x00" * 100,
]
"Contents of state files that do not hold a run."


def test_what_a_state_file_needs(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_text(json.dumps(_NEEDED))
    as_before = {"lr_scheduler": "constant", "choose_start_words": False}
    assert load_state(tmp_path).spec == replace(TrainingSpec("y", "/pictures"), **as_before)


@pytest.mark.parametrize("content", CORRUPT)
def test_files_that_are_none(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / STATE_FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"."):
        load_state(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        load_state(tmp_path)


def test_thinned_points() -> None:
    assert thinned([]) == ()
    few = [(step, float(step)) for step in range(1, MAX_POINTS + 1)]
    assert thinned(few) == tuple(few)
    many = [(step, float(step)) for step in range(1, 1001)]
    points = thinned(many)
    assert len(points) == 200
    assert points[0] == (5, 3.0)  # the mean of the first five, at the last of them
    assert points[-1] == (1000, 998.0)
    odd = thinned([(step, 1.0) for step in range(1, 1002)])
    assert len(odd) <= MAX_POINTS
    assert odd[-1] == (1001, 1.0)
