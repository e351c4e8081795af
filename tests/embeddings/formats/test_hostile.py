"""Hostile files: each is refused in one sentence that names it, runs nothing, and leaves the folder as it was."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import hostile_files
from benchmarks.hostile_cases import Case, cases
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import MAX_FILE_SIZE, is_embedding_file, read_bytes, read_embedding, write_embedding
from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidName, UnreadableFile

SCRIPTS = ["剣の絵", "меч", "سيف", "חרב", "ดาบ", "तलवार", "🗡️", "👩\u200d🎨", "abc\u200fdef"]
REFUSED = ["\u202egnp.exe", "a\nb", "\ud800", "a" * 300, "..", ""]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_refused_in_one_sentence(tmp_path: Path, case: Case) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"evil{case.suffix}"
    data = case.make(str(marker))
    path.write_bytes(data)
    modules = set(sys.modules)
    if case.reads:
        assert read_embedding(path).name == "evil"
    else:
        with pytest.raises(UnreadableFile) as caught:
            read_embedding(path)
        assert caught.value.message.startswith(f'"evil{case.suffix}" ')
        assert caught.value.message.endswith(".")
        assert caught.value.message.isprintable()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == data
    assert not {"antigravity", "numpy.core.multiarray"} & (set(sys.modules) - modules)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "name",
    ["a memo of 4 billion entries", "a zip that unpacks to 1 GB and says 16 bytes", "PNG, a packed text of 2 GB (zTXt)"],
)
def test_within_the_limits(tmp_path: Path, name: str) -> None:
    (case,) = [case for case in cases() if case.name == name]
    outcome = hostile_files.outcome(case, tmp_path)
    assert outcome.refused
    assert outcome.damage == ""
    assert outcome.memory < hostile_files.MEMORY


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_damage_would_be_seen(tmp_path: Path) -> None:
    """Else the table would show nothing."""
    made = hostile_files.outcome(Case("leaves", ".pt", lambda marker: bytes(Path(marker).write_bytes(b"ran"))), tmp_path)
    assert "ran" in made.damage
    assert not made.within_limits
    assert "**left" in hostile_files.table([made])


def test_a_link_out_of_the_folder_is_not_followed_by_a_write(tmp_path: Path) -> None:
    outside = tmp_path / "outside.pt"
    outside.write_bytes(b"keep")
    link = tmp_path / "embeddings" / "sword.pt"
    link.parent.mkdir()
    link.symlink_to(outside)
    write_embedding(Embedding("sword", {"clip_l": torch.ones(1, 8)}), link)
    assert outside.read_bytes() == b"keep"
    assert not link.is_symlink()


@pytest.mark.parametrize("name", [*SCRIPTS, *REFUSED], ids=ascii)
def test_a_name_in_any_script_makes_one_sentence(name: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read_bytes(b"nothing of the kind", f"{name}.pt")
    sentence = caught.value.message
    assert "\n" not in sentence
    assert not {"\u202e", "\u200f", "\ud800"} & set(sentence)
    assert sentence.startswith('"')
    assert len(sentence) < 250


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_such_a_name_gets_no_place_in_the_library(name: str) -> None:
    with pytest.raises(InvalidName):
        check_name(name)


def test_pictures_that_cannot_be_looked_at_are_no_embeddings(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.webp").write_bytes(b"RIFF\xff\xff\xff\xffWEBP")
    with (tmp_path / "large.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(MAX_FILE_SIZE + 1)
    for case in cases():
        if case.suffix == ".png" and "pixels" in case.name and "carry" not in case.name:
            (tmp_path / f"{abs(hash(case.name))}.png").write_bytes(case.make(""))
    assert [path.name for path in tmp_path.iterdir() if is_embedding_file(path)] == []
