"""Captions: written, changed together, and every change undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.services.store.test_transaction import killed_at
from train_embedding.errors import Conflict, InvalidInput, NotFound
from train_embedding.services.datasets import CaptionEdit, Datasets, caption_use
from train_embedding.testing import FakeHost

CAPTIONS = {"1": "a cat, red, sitting", "2": "a cat, Red", "3": "two cats"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in (*CAPTIONS, "without"):
        Image.new("RGB", (16, 16)).save(folder / f"{name}.png")
    for name, text in CAPTIONS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def datasets(fake_host: FakeHost) -> Datasets:
    return Datasets(fake_host)


def read(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))}


def test_a_caption_is_written_and_undone(datasets: Datasets, folder: Path) -> None:
    datasets.write_caption(folder, "1.png", "  ein Kätzchen,\n剣 ")
    datasets.write_caption(folder, "without.png", "new")
    assert read(folder) == {**CAPTIONS, "1": "ein Kätzchen, 剣", "without": "new"}
    assert datasets.look(folder).images[0].caption == "ein Kätzchen, 剣"
    assert datasets.caption_changes(folder) == 2
    assert datasets.undo_captions(folder).files == ("without.txt",)
    datasets.undo_captions(folder)
    assert read(folder) == CAPTIONS
    with pytest.raises(NotFound, match="no change of captions to undo"):
        datasets.undo_captions(folder)


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (CaptionEdit(prefix="my-cat, "), ["my-cat, a cat, red, sitting", "my-cat, a cat, Red", "my-cat, two cats"]),
        (CaptionEdit(suffix=", photo"), ["a cat, red, sitting, photo", "a cat, Red, photo", "two cats, photo"]),
        (CaptionEdit(find="cat", replace="dog"), ["a dog, red, sitting", "a dog, Red", "two dogs"]),
        (CaptionEdit(remove_tag="red"), ["a cat, sitting", "a cat", "two cats"]),
        (CaptionEdit(find="two ", replace="", prefix="cats"), ["catsa cat, red, sitting", "catsa cat, Red", "cats"]),
    ],
)
def test_many_captions_are_changed_at_once_and_undone(
    datasets: Datasets, folder: Path, edit: CaptionEdit, after: list[str]
) -> None:
    changed = datasets.edit_captions(folder, edit)
    assert list(read(folder).values()) == after
    assert len(changed.files) == sum(new != old for new, old in zip(after, CAPTIONS.values(), strict=True))
    assert changed.note == "1 image has no caption file, and was left out."
    assert not datasets.edit_captions(folder, edit).files or edit.find
    assert datasets.undo_captions(folder).files
    if datasets.caption_changes(folder):
        datasets.undo_captions(folder)
    assert read(folder) == CAPTIONS


def test_captions_are_made_where_there_are_none_only_on_request(datasets: Datasets, folder: Path) -> None:
    changed = datasets.edit_captions(folder, CaptionEdit(prefix="my-cat, "), ["without.png", "1.png"], create=True)
    assert sorted(changed.files) == ["1.txt", "without.txt"]
    assert read(folder)["without"] == "my-cat"
    datasets.undo_captions(folder)
    assert read(folder) == CAPTIONS


def test_undo_leaves_alone_what_others_changed_since(datasets: Datasets, folder: Path) -> None:
    datasets.edit_captions(folder, CaptionEdit(prefix="x, "))
    (folder / "1.txt").write_text("by hand")
    changed = datasets.undo_captions(folder)
    assert changed.note == "1 file was changed since, and is left as it is."
    assert read(folder) == {**CAPTIONS, "1": "by hand"}
    datasets.write_caption(folder, "2.png", "y")
    (folder / "2.txt").write_text("by hand")
    with pytest.raises(Conflict):
        datasets.undo_captions(folder)
    assert read(folder)["2"] == "by hand"


@pytest.mark.parametrize("call", ["open", "replace"])
def test_a_kill_leaves_no_change_to_undo_that_was_not_made(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    edit, seen = CaptionEdit(suffix=", photo"), set[int]()
    for number in range(1, 100):
        datasets = Datasets(FakeHost(tmp_path / str(number)))
        through = killed_at(monkeypatch, call, number, lambda datasets=datasets: datasets.edit_captions(folder, edit))
        later = Datasets(FakeHost(tmp_path / str(number)))
        later.write_caption(folder, "without.png", "x")  # finishes or discards the change of the killed process
        assert later.undo_captions(folder).files == ("without.txt",)
        changed = later.caption_changes(folder)
        seen.add(changed)
        if changed:
            assert not later.undo_captions(folder).note
        assert read(folder) == CAPTIONS, (call, number)
        if through:
            break
    assert seen == {0, 1}


def test_what_training_could_not_read_is_refused_before_anything_changes(datasets: Datasets, folder: Path) -> None:
    with pytest.raises(InvalidInput):
        datasets.write_caption(folder, "1.png", "a {red|blue cat")
    with pytest.raises(InvalidInput, match=r'The caption of "1\.png"'):
        datasets.edit_captions(folder, CaptionEdit(suffix="{"))
    with pytest.raises(InvalidInput, match="No change"):
        datasets.edit_captions(folder, CaptionEdit())
    with pytest.raises(InvalidInput, match="10001 characters"):
        datasets.write_caption(folder, "1.png", "x" * 10_001)
    assert read(folder) == CAPTIONS


def test_tags_are_counted(datasets: Datasets, folder: Path) -> None:
    assert datasets.tags(folder) == [("a cat", 2), ("Red", 1), ("red", 1), ("sitting", 1), ("two cats", 1)]


def test_tokens_are_those_of_the_prompt(datasets: Datasets) -> None:
    assert datasets.count_tokens("a (red:1.2) cat") == (3, 75)
    assert datasets.count_tokens("") == (0, 75)


def test_whether_captions_are_used_is_said_plainly() -> None:
    assert "does not use these captions" in caption_use(("a photo of [name]",))
    assert caption_use(("[name]", "[name], [filewords]")).startswith("1 of 2 caption lines")
    assert "in every step" in caption_use(("[name], [filewords]",))
