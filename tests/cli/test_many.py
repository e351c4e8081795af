"""Large collections: no verb reads files again that did not change."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from train_embedding.cli import main
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.hosts import standalone
from train_embedding.services.library import listing
from train_embedding.services.library.listing import SETTLED_SECONDS

FILES = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(FILES):
        embedding = Embedding(f"cat{number}", {"clip_l": torch.full((1, 64), float(number))})
        write_embedding(embedding, tmp_path / "embeddings" / f"cat{number}.safetensors")
    time.sleep(2 * SETTLED_SECONDS)
    return tmp_path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the embedding files that are read, each time."""
    seen: list[str] = []
    content, embedding = listing.summarize, standalone.read_embedding
    monkeypatch.setattr(listing, "summarize", lambda path: seen.append(path.name) or content(path))
    monkeypatch.setattr(standalone, "read_embedding", lambda path: seen.append(path.name) or embedding(path))
    return seen


def test_files_are_read_once_for_all_verbs(data: Path, read: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--data", str(data)]
    assert main(["list", *at]) == 0
    assert sorted(read) == sorted(f"cat{number}.safetensors" for number in range(FILES)), "once each, not once more by the host"
    read.clear()
    assert main(["list", *at]) == 0
    assert read == []
    assert capsys.readouterr().out.count("cat1 ") == 2
    assert main(["create", "dog", "--init-text", "red", *at]) == 0
    assert set(read) == {"dog.pt"}
    time.sleep(2 * SETTLED_SECONDS)
    assert main(["list", *at]) == 0
    read.clear()
    assert main(["rename", "cat1", "lion", *at]) == 0
    assert main(["notes", "cat2", "--notes", "mine", *at]) == 0
    assert main(["delete", "cat3", *at]) == 0
    assert set(read) <= {"lion.safetensors"}


def test_what_changed_is_noticed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--data", str(data)]
    assert main(["list", *at]) == 0
    file = data / "embeddings" / "cat1.safetensors"
    write_embedding(Embedding("cat1", {"clip_l": torch.ones(3, 64)}), file)
    os.utime(file, (1, 1))
    capsys.readouterr()
    assert main(["list", *at]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("cat1 "))
    assert line.split()[:3] == ["cat1", "custom", "3"]
