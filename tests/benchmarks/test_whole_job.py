"""The count of whole runs, on a tiny model; blocks that are computed twice are checked against torch's checkpointing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import whole_job
from benchmarks.random_model import random_model
from benchmarks.webui_step import _losses, _trainable, count_webui_step
from benchmarks.whole_job import Costs, count_costs, count_evaluations, jobs, parser
from train_embedding.engine.config.presets import preset_values
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.flops import StepFlops, count_step, evaluation_share
from train_embedding.engine.training.start_words import most_items
from train_embedding.services.training.start_words import MAX_WORDS
from train_embedding.services.training.trainer import EVALUATION_ITEMS

SIDE = 64
TEXT = 10**6


@pytest.fixture(scope="module")
def tiny() -> DiffusionModel:
    return random_model("SD1", torch.device("cpu"), torch.float32, tiny=True)


@pytest.fixture(scope="module")
def tiny_on_meta() -> DiffusionModel:
    model = random_model("SD1", torch.device("cpu"), torch.float32, tiny=True)
    for network in (model.unet, model.vae):
        network.to("meta")
    return replace(model, alphas_cumprod=model.alphas_cumprod.to("meta"))


@pytest.fixture(scope="module")
def step(tiny_on_meta: DiffusionModel) -> StepFlops:
    return count_step(tiny_on_meta, SIDE)


@pytest.fixture(scope="module")
def costs(tiny_on_meta: DiffusionModel) -> Costs:
    return count_costs(tiny_on_meta, TEXT, SIDE)


@contextmanager
def recomputed(model: DiffusionModel) -> Generator[None, None, None]:
    blocks = [block for block in model.unet.modules() if isinstance(block, (ResnetBlock2D, BasicTransformerBlock))]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        with set_checkpoint_early_stop(False):
            yield
    finally:
        for block in blocks:
            del block.forward


def test_a_step_of_the_webui_computes_all_gradients_and_its_blocks_twice(tiny: DiffusionModel) -> None:
    unet = tiny.unet
    with original_layers(unet), _trainable(unet), recomputed(tiny), torch.enable_grad():
        with FlopCounterMode(display=False) as counter:
            _losses(tiny, SIDE).mean().backward()
        assert all(parameter.grad is not None for parameter in unet.parameters())
    assert count_webui_step(tiny, SIDE) == counter.get_total_flops()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in unet.parameters())


def test_the_costs_are_those_of_a_step(costs: Costs, step: StepFlops) -> None:
    assert (costs.step, costs.evaluation) == (step.step + TEXT, step.forward + TEXT // 2)
    assert 0 < costs.evaluation < costs.step < costs.webui_step
    assert costs.step < costs.example_step - costs.encoding < costs.webui_step, "it computes gradients of layers that need none"


def test_a_run_is_the_sum_of_its_parts(costs: Costs, step: StepFlops) -> None:
    fast, classic = preset_values("Fast"), preset_values("WebUI classic")
    first, plain, whole, _plain, ours, theirs = jobs(costs, parser().parse_args(["--images", "3"]), SIDE)
    assert (2 * first.steps, whole.steps, ours.steps) == (fast["steps"], fast["steps"], classic["steps"])
    assert whole.samples == fast["steps"] * fast["batch_size"]
    assert whole.training == whole.samples * costs.step
    assert {job.encoding for job in (first, whole, ours, theirs)} == {3 * costs.encoding}
    assert theirs.total == 3 * costs.encoding + classic["steps"] * costs.webui_step
    assert plain.total == plain.encoding + plain.training + plain.evaluating
    assert first.total == plain.total + most_items(MAX_WORDS) * costs.evaluation
    share = evaluation_share(resolved("Fast"), EVALUATION_ITEMS, step)
    assert first.evaluating / (first.evaluating + first.training) == pytest.approx(share, rel=0.05)


def resolved(preset: str, **options: Any) -> Any:
    return resolve(TrainingSpec.from_json({"embedding": "sword", "dataset": "images", "preset": preset, **options}), SIDE)


def test_evaluations_are_those_that_the_run_makes() -> None:
    fast = resolved("Fast", steps=100, eval_every=20)
    assert count_evaluations(fast, 50) == 4, "before the first step, after 20, 40 and the last one"
    assert count_evaluations(fast, 40) == 3
    assert count_evaluations(fast, 100) == 7, "also at the end of the first half"
    assert count_evaluations(resolved("Fast", eval_every=0, early_stopping=False), 100) == 0


def test_the_command(
    tiny_on_meta: DiffusionModel, costs: Costs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whole_job, "meta_model", lambda _family: tiny_on_meta)
    monkeypatch.setattr(whole_job, "count_text_encoders", lambda _family: TEXT)
    assert whole_job.main([]) == 0
    usual = table(capsys.readouterr().out)
    monkeypatch.setattr(whole_job, "count_costs", lambda *_given: costs)
    assert whole_job.main(["--steps", "25", "--webui-steps", "1000"]) == 0
    given = table(capsys.readouterr().out)
    assert [row[0] for row in given] == [
        "Fast, 25 steps",
        "Fast, 25 steps, from the init text alone",
        "WebUI classic, 1000 steps, by this project",
        "WebUI classic, 1000 steps, by the WebUI's own trainer",
    ]
    assert given[0][1] == "50"
    assert usual[-1][-1] == given[-1][-1] == "1.00"
    assert float(usual[1][-1]) > float(usual[0][-1]) > float(usual[2][-1]) > float(usual[4][-1]) > 1


@pytest.mark.parametrize("option", ["--steps", "--webui-steps", "--images", "--resolution"])
def test_a_number_below_one_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([option, "0"])
    assert "must be at least 1" in capsys.readouterr().err


def table(printed: str) -> list[list[str]]:
    """Return the rows of the first table."""
    rows = printed.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
