"""The count of a step of the WebUI's own trainer (`benchmarks/webui_step.py`) is that of the trainer itself."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers.webui import training_arguments
from benchmarks.webui_step import count_webui_step
from tests.webui.server import PREFIX, WebUI
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.splicing import PromptBatch

NAME = f"{PREFIX}operations"
ROUTE = "/te-test/operations"


@pytest.fixture
def model(webui: WebUI) -> DiffusionModel:
    if webui.why_it_creates_none or webui.call("POST", ROUTE, {}).status == 404:
        pytest.skip("needs AUTOMATIC1111's trainer and the extension of tests/webui")
    file = Path(webui.checkpoints()[webui.checkpoint]["filename"])
    loaded = load_checkpoint(file)
    if loaded.family == "SDXL":
        pytest.skip("the WebUI's own trainer cannot train SDXL")
    loaded.unet.to("meta")  # as in the benchmark: a fused kernel on the CPU would count a product more
    return replace(loaded, alphas_cumprod=loaded.alphas_cumprod.to("meta"))


@pytest.mark.parametrize("side", [64, 128])
def test_a_step_of_the_webuis_trainer(webui: WebUI, model: DiffusionModel, pictures: Path, tmp_path: Path, side: int) -> None:
    assert not webui.get("/sdapi/v1/options")["training_xattention_optimizations"], "so does its own fused kernel"

    def train(steps: int) -> int:
        name = f"{NAME}-{side}-{steps}"  # the WebUI keeps the step of one that it has trained
        created = {"name": name, "init_text": "tree", "num_vectors_per_token": 1, "overwrite_old": True}
        webui.post("/sdapi/v1/create/embedding", created)
        answer = webui.post(ROUTE, training_arguments(name, steps, pictures, tmp_path / "log", side))
        assert "error: None" in answer["info"], answer
        return answer["operations"]

    assert train(2) - train(1) == count_webui_step(model, side) + count_text_encoders(model)


def count_text_encoders(model: DiffusionModel) -> int:
    """Count the forward pass of the text encoder, and its backward pass to one vector."""
    prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
    encoder: Any = model.text_encoders[0]
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        encoder.encode(prompts, torch.zeros(1, encoder.width, requires_grad=True))[0].sum().backward()
    return counter.get_total_flops()
