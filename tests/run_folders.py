"""Runs as earlier processes left them: folders with a state.json, written without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.hosts.base import Host
from train_embedding.services.run_records import RunState

FIRST = "20261101-100000-000"


def stored_run(host: Host, run_id: str = FIRST, spec: dict[str, Any] | None = None, **values: Any) -> RunState:
    """Writes the folder of a run of "my-cat" that has finished, unless `values` say otherwise."""
    folder = host.info().runs_folder / run_id
    chosen = TrainingSpec.from_json({"embedding": "my-cat", "dataset": "/images/cat", **(spec or {})})
    state = RunState(run_id, chosen.embedding, folder, chosen, status="finished", step=40, steps=40, seconds=65.0)
    folder.mkdir(parents=True)
    (folder / "snapshots").mkdir()
    (folder / "loss.csv").write_text("step,loss\n")
    stored = replace(state, **values)
    stored.save()
    return stored


def stored_preview(state: RunState, step: int = 40, colour: str = "red") -> Path:
    """Draws a preview of a run, and returns its file."""
    file = state.folder / "previews" / f"{step:07d}.png"
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(file)
    replace(state, previews=(*state.previews, file)).save()
    return file
