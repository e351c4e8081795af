"""The command line over a host without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from train_embedding.hosts import standalone
from train_embedding.testing import FakeHost


class WordModel:
    """Token embeddings with one token per word, all zeros."""

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        return {"clip_l": torch.zeros(len(text.split()[:count]), 768)}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, which is the one used where no other is named."""

    def host(folder: Path, _checkpoint: Path | None = None, allowed_folders: tuple[Path, ...] | None = None) -> FakeHost:
        return FakeHost(folder.resolve(), model=cast(Any, WordModel()), allowed_folders=allowed_folders)

    monkeypatch.setattr(standalone, "StandaloneHost", host)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "train-embedding-data"
