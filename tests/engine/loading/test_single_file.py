"""The demo checkpoint in diffusers' own hands: it loads offline there, and draws the pictures that our preview draws."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

from train_embedding.engine import sampling
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.prompts.tokenizer import FOLDER as TOKENIZER_FILES
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

COMPONENTS = {
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
}
pytestmark = [
    pytest.mark.usefixtures("offline"),
    # torch's tensors and numpy 2, in diffusers' scheduler.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
PROMPTS = ["a big red star on a navy background", ""]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def pipeline_of(checkpoint: Path, folder: Path) -> Any:
    """diffusers' pipeline of a single file with its config; `folder` gets what diffusers would else ask a server for."""
    folder.mkdir()
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **COMPONENTS}
    (folder / "model_index.json").write_text(json.dumps(index))
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    scheduler.save_pretrained(folder / "scheduler")
    shutil.copytree(checkpoint.parent / "clip", folder / "text_encoder")
    shutil.copytree(TOKENIZER_FILES, folder / "tokenizer")
    return StableDiffusionPipeline.from_single_file(
        str(checkpoint),
        original_config=str(checkpoint.with_suffix(".yaml")),
        config=str(folder),
        local_files_only=True,
        safety_checker=None,
    )


def largest_difference(checkpoint: Path, folder: Path, prompt: str) -> int:
    """Between the picture that diffusers draws and ours, of the same noise, in steps of 1 of 255."""
    pipeline = pipeline_of(checkpoint, folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = sampling._initial_noise([3], 64, 64)
    theirs = pipeline([prompt], num_inference_steps=8, guidance_scale=5.0, latents=noise, width=64, height=64).images[0]
    model = load_checkpoint(checkpoint)
    ours = sampling.decode_to_images(
        model, sampling.draw_latents(model, [prompt], [3], steps=8, guidance=5.0, width=64, height=64)
    )[0]
    return int(np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max())


def test_a_checkpoint_that_the_maker_wrote(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert largest_difference(tiny_checkpoint, tmp_path / "config", PROMPTS[0]) <= 2


@pytest.mark.checkpoint
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_demo_checkpoint(tmp_path: Path, prompt: str) -> None:
    assert largest_difference(DEMO_CHECKPOINT, tmp_path / "config", prompt) <= 2
