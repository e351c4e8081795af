"""A host, an embedding and pictures to train it on, for every room that starts runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import checkpoints
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding, write_embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.hosts.base import Progress, Txt2ImgRequest
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.services.training import recorder, trainer
from train_embedding.services.training.runs import Runs
from train_embedding.testing import FakeHost

NAME = "sword"
EVALUATION_ITEMS = 6
PATIENCE = 600.0
"Seconds to wait for a run; it takes one or two on an idle machine."


class WatchedHost(FakeHost):
    """A fake host that lets a test act in the middle of a run. The callbacks run in the thread that trains."""

    on_report: Callable[[Progress], object] = staticmethod(lambda _progress: None)
    on_txt2img: Callable[[Txt2ImgRequest], object] = staticmethod(lambda _request: None)

    def report(self, progress: Progress) -> None:
        super().report(progress)
        self.on_report(progress)

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        picture = super().txt2img(request)
        self.on_txt2img(request)
        return picture


@dataclass
class Trainee:
    """An untrained embedding of two vectors in the folder of a host that holds a small model, and pictures."""

    host: WatchedHost
    services: Services
    pictures: Path

    @property
    def file(self) -> Path:
        return self.host.info().embeddings_folder / f"{NAME}.pt"

    def reset(self) -> None:
        """The embedding untrained, and no run but finished ones."""
        assert self.host.the_model is not None
        write_embedding(Embedding(NAME, self.host.the_model.token_embeddings("red star"), step=10), self.file)
        self.host.reload_embeddings()
        for state in self.fresh_runs().list():
            if state.status != "finished":
                shutil.rmtree(state.folder)

    def fresh_runs(self) -> Runs:
        """As another process sees them."""
        return Services(self.host).runs

    def embedding(self) -> Embedding:
        return read_embedding(self.file)

    def spec(self, **values: Any) -> TrainingSpec:
        """Few steps at one rate, and neither snapshots, previews nor evaluations, unless `values` say otherwise."""
        given = {"embedding": NAME, "dataset": str(self.pictures), "steps": 4, "batch_size": 1, "learning_rate": "0.01"}
        given |= {"ema_decay": 0.0, "eval_every": 0, "lr_cooldown_steps": 0, "optimizer": "adamw", "lr_scheduler": "constant"}
        return TrainingSpec.from_json({**given, "save_every": 0, "preview_every": 0, **values})

    def start(self, **values: Any) -> RunState:
        return self.services.runs.start(self.spec(**values))

    def run(self, **values: Any) -> RunState:
        """Trains to the end."""
        return self.wait(self.start(**values))

    def wait(self, state: RunState) -> RunState:
        ended = self.services.runs.wait(state.id, PATIENCE)
        assert not ended.active, "the run did not end"
        return ended


def new_trainee(folder: Path, pictures: Path) -> Trainee:
    """Its host's folders lie in `folder`."""
    model = checkpoints.model()
    host = WatchedHost(folder, widths=model.widths, model=model)
    made = Trainee(host, Services(host), pictures)
    made.reset()
    host.reloads = 0
    return made


@pytest.fixture
def trainee(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Trainee:
    """Its runs report every step, and evaluate few items."""
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(trainer, "EVALUATION_ITEMS", EVALUATION_ITEMS)
    return new_trainee(tmp_path / "host", pictures)
