"""Subjects to study, and hosts over a small model that is made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import checkpoints
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.hosts.standalone import CheckpointFile, StandaloneHost

OpenHost = Callable[[Path, str], StandaloneHost]


class SmallCheckpoint(CheckpointFile):
    """The small model of the tests in place of a checkpoint."""

    def model(self) -> DiffusionModel:
        return checkpoints.model()


@pytest.fixture
def subjects(tmp_path: Path) -> Path:
    """A folder with the datasets anna and ben."""
    folder = tmp_path / "subjects"
    for name, colour in (("anna", "red"), ("ben", "blue")):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), colour).save(folder / name / "1.png")
    return folder


@pytest.fixture
def open_host() -> OpenHost:
    return lambda folder, _checkpoint: StandaloneHost(folder, SmallCheckpoint())
