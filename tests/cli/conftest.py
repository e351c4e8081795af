"""The command line over a host without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.words import word_model
from train_embedding.hosts import standalone
from train_embedding.testing import FakeHost


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, which is the one used where no other is named."""

    def host(folder: Path, _checkpoint: Path | None = None, allowed_folders: tuple[Path, ...] | None = None) -> FakeHost:
        return FakeHost(folder.resolve(), model=word_model(), allowed_folders=allowed_folders)

    monkeypatch.setattr(standalone, "StandaloneHost", host)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "train-embedding-data"
