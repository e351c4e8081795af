"""This project's trainer: the engine's loop as `services.training` runs it, on cached latents."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import Steps
from benchmarks.peers.clock import StepClock
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import LatentDataset, encode_dataset
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.runtime.precision import uses_fp16_gradients
from train_embedding.engine.training.events import Event, Stepped
from train_embedding.engine.training.loop import LoopHooks, train
from train_embedding.engine.training.state import new_state


class Ours:
    """This project's trainer, with the model in fp32. A step is measured from one `Stepped` event to the next, so all of it
    counts: the batch, forward and backward pass, the optimizer, and the moving average."""

    name = "ours"

    def __init__(self, checkpoint: Path, images: Path, resolution: int) -> None:
        self._model = load_checkpoint(checkpoint)
        self._images = str(images)
        self._resolution = resolution
        found, _ = scan_folder(images, ImageOptions(((resolution, resolution),)))
        self._encoded, _ = encode_dataset(self._model, found)
        self._start = {key: table[:1] for key, table in self._model.token_embeddings("star").items()}

    def measure(self, steps: int) -> Steps:
        spec = self._spec(steps=steps + 1)
        resolved = resolve(spec, self._model.resolution)
        dataset = LatentDataset(self._encoded, resolved, 1, self._model.device)
        state = new_state(self._start, resolved, self._model.device, scales_loss=uses_fp16_gradients(self._model))
        clock = StepClock(os.getpid())
        with torch.enable_grad():
            train(self._model, state, dataset, resolved, LoopHooks(_no_evaluation, _ticking(clock), lambda: False))
        return clock.steps()

    def _spec(self, **values: Any) -> TrainingSpec:
        side = self._resolution
        given = {"embedding": "te-benchmark", "dataset": self._images, "batch_size": 1, "width": side, "height": side}
        return TrainingSpec.from_json({**given, "buckets": False, "eval_every": 0, **values})


def _ticking(clock: StepClock) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, Stepped):
            loss = event.loss.item()  # on a GPU, this waits for the end of the step
            clock.tick()
            if not isfinite(loss):
                raise RuntimeError(f"Our loss is {loss}.")

    return listen


def _no_evaluation(_vectors: dict[str, torch.Tensor]) -> torch.Tensor:
    raise AssertionError("the spec asks for no evaluations")
