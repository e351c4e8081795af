"""Presets of one's own: save, load, rename, delete, pass on, and what files of others may and may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train_embedding.engine.config.presets import preset_values
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import (
    Conflict,
    InvalidInput,
    InvalidName,
    InvalidSpec,
    NotFound,
    StorageFailed,
    TrainEmbeddingError,
    UnreadableFile,
)
from train_embedding.messages import verbatim
from train_embedding.services.presets import MAX_SIZE, OwnPreset, Presets
from train_embedding.testing import FakeHost

SETTINGS = {"preset": "Quality", "steps": 300, "seed": 7, "template": ["a drawing of [name]"]}


@pytest.fixture
def presets(fake_host: FakeHost) -> Presets:
    return Presets(fake_host)


def names(presets: Presets) -> list[str]:
    return [preset.name for preset in presets.list()]


def file_of(**changes: Any) -> bytes:
    values = {"train_embedding_preset": 1, "name": "theirs", "based_on": "Fast", "description": "", "options": {"steps": 99}}
    return json.dumps({**values, **changes}).encode()


def test_settings_are_saved_under_a_name_as_what_differs_from_their_preset(presets: Presets) -> None:
    saved = presets.save("my style", {**SETTINGS, "batch_size": 8}, "for pencil drawings")
    assert saved == presets.get("my style") == presets.list()[0]
    assert (saved.based_on, saved.description) == ("Quality", "for pencil drawings")
    assert saved.options == {"steps": 300, "seed": 7, "template": ("a drawing of [name]",)}
    assert saved.values["batch_size"] == 8
    assert saved.values["optimizer"] == preset_values("Quality")["optimizer"]


def test_what_is_trained_on_what_is_not_saved(presets: Presets) -> None:
    spec = TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/secret", "candidates": "cat", "seed": 1})
    saved = presets.save("mine", {**spec.to_json(), "teacher_prompt": "a long prompt"})
    assert saved.options == {"seed": 1}
    assert "secret" not in presets.export("mine").decode()
    assert not {"embedding", "dataset", "candidates", "teacher_prompt", "preset"} & set(saved.values)


def test_a_run_starts_from_a_preset_and_what_is_given_comes_first(presets: Presets) -> None:
    presets.save("mine", SETTINGS)
    values = presets.resolved({"embedding": "my-cat", "dataset": "/images", "preset": "mine", "seed": 9})
    spec = TrainingSpec.from_json(values)
    assert (spec.preset, spec.steps, spec.seed, spec.batch_size) == ("Quality", 300, 9, 8)
    assert presets.resolved({"preset": "Fast", "seed": 9}) == {"preset": "Fast", "seed": 9}
    assert presets.resolved({"seed": 9}) == {"seed": 9}
    with pytest.raises(InvalidSpec, match='There is no preset "other"'):
        presets.resolved({"preset": "other"})


def test_a_preset_can_be_based_on_another_of_ones_own(presets: Presets) -> None:
    presets.save("first", SETTINGS)
    assert presets.save("second", {"preset": "first", "seed": 8}).options == {
        "steps": 300, "seed": 8, "template": ("a drawing of [name]",),
    }  # fmt: skip


def test_a_taken_name_needs_overwrite_and_the_old_one_can_be_restored(presets: Presets, fake_host: FakeHost) -> None:
    presets.save("mine", SETTINGS, "the first")
    with pytest.raises(Conflict, match='There is already a preset "mine"'):
        presets.save("mine", {"seed": 1})
    replaced = presets.save("mine", {"seed": 1}, overwrite=True)
    assert (replaced.options, replaced.description) == ({"seed": 1}, "the first")
    (kept,) = (fake_host.info().runs_folder.parent / "preset-trash").glob("mine.*.json")
    with pytest.raises(Conflict, match="Rename or delete it first"):
        presets.restore(kept.stem)
    presets.rename("mine", "new")
    assert presets.restore(kept.stem).options["seed"] == 7
    assert names(presets) == ["mine", "new"]


def test_a_preset_that_cannot_be_replaced_stays(presets: Presets, monkeypatch: pytest.MonkeyPatch) -> None:
    presets.save("mine", SETTINGS)

    def disk_is_full(path: Path, _data: bytes) -> None:
        raise StorageFailed(verbatim(f"{path.name} cannot be written."))

    with monkeypatch.context() as patched:
        patched.setattr("train_embedding.services.presets.write_atomically", disk_is_full)
        for name in ("mine", "Mine"):
            with pytest.raises(StorageFailed):
                presets.save(name, {"seed": 1}, overwrite=True)
    assert [preset.options["seed"] for preset in presets.list()] == [7]


def test_rename_delete_and_restore(presets: Presets) -> None:
    presets.save("a", SETTINGS)
    presets.save("b", {})
    with pytest.raises(Conflict):
        presets.rename("a", "B")
    assert presets.rename("a", "A").name == "A", "only the case changes"
    assert presets.rename("A", "剣 2").options["seed"] == 7
    assert names(presets) == ["b", "剣 2"]
    trash_id = presets.delete("剣 2")
    assert names(presets) == ["b"]
    assert presets.restore(trash_id).name == "剣 2"
    with pytest.raises(NotFound, match="in the trash"):
        presets.restore(trash_id)
    for change in (presets.get, presets.delete, presets.export):
        with pytest.raises(NotFound, match='no preset called "c"'):
            change("c")


def test_two_deleted_in_one_second_are_both_kept(presets: Presets) -> None:
    ids = set[str]()
    for seed in (1, 2, 3):
        presets.save("mine", {"seed": seed})
        ids.add(presets.delete("mine"))
    assert len(ids) == 3


def test_a_preset_is_passed_on_as_a_file(presets: Presets, tmp_path: Path) -> None:
    presets.save("mine", SETTINGS, "for pencil drawings")
    data = presets.export("mine")
    others = Presets(FakeHost(tmp_path / "other"))
    assert others.import_file(data) == presets.get("mine")
    assert others.import_file(data, name="second").name == "second"
    with pytest.raises(Conflict):
        others.import_file(data)
    path = presets.export_to(tmp_path, "mine")
    assert (path.name, others.import_path(path, "third").name) == ("mine.json", "third")
    with pytest.raises(Conflict, match="already exists"):
        presets.export_to(path, "mine")
    with pytest.raises(NotFound):
        others.import_path(tmp_path / "none.json")
    with pytest.raises(UnreadableFile):
        others.import_path(tmp_path)
    assert others.import_file(data, overwrite=True).name == "mine"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The file is not a preset: it is not valid JSON"),
        (b"\xff\xfe", "it is not valid JSON"),
        (b"[" * 100_000, "it is not valid JSON"),
        (b"[]", "it is another kind of file"),
        (b"{}", "it is another kind of file"),
        (file_of(train_embedding_preset=2), "or from a newer version"),
        (file_of(options=[]), "it is another kind of file"),
        (file_of(name=7), "its name or description is not text"),
        (file_of(description=[]), "its name or description is not text"),
        (file_of(description="x" * 1001), "at most 1000"),
        (file_of(name="a/b"), "contains '/'"),
        (file_of(name="../../evil"), "evil"),
        (file_of(name="fast"), '"fast" is a built-in preset'),
        (file_of(based_on="Slow"), '"Preset" is "Slow"; it must be one of'),
        (file_of(based_on=["Fast"]), '"Preset" is'),
        (file_of(options={"exec": "import os"}), 'There is no option "exec"'),
        (file_of(options={"steps": 0}), '"Steps" is 0; it must be a whole number from 1 to'),
        (file_of(options={"steps": "many"}), '"Steps" is "many"'),
        (file_of(options={"learning_rate": "__import__('os')"}), "learning rate"),
        (file_of(options={"template": ["no placeholder"]}), "must contain [name]"),
        (file_of(options={"steps": {"a": 1}}), '"Steps" is'),
        (b'{"train_embedding_preset": 1, "name": "a", "options": {"max_grad_norm": NaN}}', "it is not valid JSON"),
        (b" " * (MAX_SIZE + 1), "it is larger than 256 KB"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_with_the_reason(presets: Presets, data: bytes, sentence: str) -> None:
    with pytest.raises(TrainEmbeddingError) as caught:
        presets.import_file(data)
    assert sentence.casefold() in f"{caught.value.message} {caught.value.hint}".casefold()
    assert presets.list() == []


@pytest.mark.parametrize("name", ["", "  ", "a/b", "Fast", "webui CLASSIC", "con", ".hidden", "x" * 101])
def test_names_that_cannot_be_used(presets: Presets, name: str) -> None:
    with pytest.raises(InvalidName):
        presets.save(name, {})
    presets.save("mine", {})
    with pytest.raises(InvalidName):
        presets.rename("mine", name)


def test_values_that_are_not_allowed_change_nothing(presets: Presets) -> None:
    presets.save("mine", {"seed": 1})
    with pytest.raises(InvalidInput, match='"Batch size" is 0'):
        presets.save("mine", {"batch_size": 0}, overwrite=True)
    assert presets.get("mine").options == {"seed": 1}


def test_a_damaged_file_is_left_out_of_the_list(presets: Presets) -> None:
    presets.save("good", {})
    (presets.folder / "bad.json").write_bytes(b"{")
    (presets.folder / "large.json").write_bytes(b" " * (MAX_SIZE + 10))
    (presets.folder / "notes.txt").write_text("")
    assert names(presets) == ["good"]
    with pytest.raises(UnreadableFile, match="not valid JSON"):
        presets.get("bad")
    presets.save("bad", {}, overwrite=True)
    assert names(presets) == ["bad", "good"]


def test_the_name_is_that_of_the_file_even_if_it_was_copied_by_hand(presets: Presets) -> None:
    presets.save("mine", SETTINGS)
    (presets.folder / "copy.json").write_bytes(presets.export("mine"))
    assert names(presets) == ["copy", "mine"]


def test_pages_see_by_the_version_that_something_changed(presets: Presets) -> None:
    seen = [presets.version()]
    for change in (
        lambda: presets.save("a", {}),
        lambda: presets.save("a", {"seed": 1}, overwrite=True),
        lambda: presets.rename("a", "b"),
        lambda: presets.delete("b"),
    ):
        change()
        seen.append(presets.version())
    assert len(set(seen)) == 5


def test_json_of_a_preset_reads_back(presets: Presets) -> None:
    saved: OwnPreset = presets.save("mine", SETTINGS)
    assert json.loads(json.dumps(saved.to_json()))["options"] == {"steps": 300, "seed": 7, "template": ["a drawing of [name]"]}
