"""The benchmark for GPUs: every part of it runs here on tiny models, with recorded operations in place of CUDA graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_measures
from benchmarks.gpu_measures import Case, check_images, gradient_errors, time_ours
from benchmarks.plain_step import TRAINED, PlainStep
from benchmarks.random_model import RandomFamily, random_model
from tests.recorded_operations import CpuGraphs
from train_embedding.engine.layers.frozen import FrozenLayer
from train_embedding.engine.profiling.meta_models import meta_model, meta_text_encoders
from train_embedding.engine.runtime import cuda_graph

CPU = torch.device("cpu")
ARGUMENTS = ["--device", "cpu", "--tiny", "--batches", "1", "--steps", "1", "--compile-backend", "eager"]


def tiny(family: RandomFamily = "SD1") -> Case:
    return Case(family, random_model(family, CPU, torch.float32, tiny=True), true_size=False)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> CpuGraphs:
    made = CpuGraphs()
    monkeypatch.setattr(cuda_graph, "graph_backend", lambda _model: made)
    return made


@pytest.mark.slow
def test_the_whole_command(graphs: CpuGraphs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = tmp_path / "numbers.json"
    assert gpu.main([*ARGUMENTS, "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    written = json.loads(numbers.read_text())
    steps = {(row["model"], row["step"]): row for row in written["steps"]}
    names = ("plain, as diffusers' example", gpu.PLAIN, "ours", "ours, CUDA graphs")
    for model in ("SD1, random weights", "SDXL, random weights"):
        assert all(steps[model, name]["images/s"] == pytest.approx(1000 / steps[model, name]["ms"]) for name in names)
        assert steps[model, gpu.PLAIN]["times the plain step"] == 1
    compiled = steps["SD1, random weights", "torch.compile (default), torch's layers"]
    assert compiled["note"].startswith("first step") == ("ms" in compiled), "it has a time, or the reason why not"
    assert [row["result"] for row in written["checks"]] == ["bit-identical"] * 4
    assert [row["note"].split(":")[0] for row in written["gradients"]] == ["needs --checkpoint"] * 2
    assert "| SDXL, random weights | 1 | ours, CUDA graphs |" in printed
    assert graphs.recorded == 2


def test_a_checkpoint_is_measured_in_place_of_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "load_checkpoint", lambda *_given, **_options: tiny().model)
    assert gpu.main([*ARGUMENTS[:-1], "", "--checkpoint", "some/name.pt"]) == 0
    printed = capsys.readouterr().out
    assert "| name | 1 | ours |" in printed
    assert "| name | as a run computes |" in printed
    assert "there are no CUDA graphs on this device" in printed
    assert "random weights" not in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "This benchmark needs a GPU that torch can use with CUDA.\n"


@pytest.mark.parametrize("family", ["SD1", "SDXL"])
def test_random_models_have_the_published_size(family: RandomFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.random_model._materialise", lambda *_given: None)
    made = random_model(family, CPU, torch.float16)
    counted = meta_model(family)
    for mine, theirs in ((made.unet, counted.unet), (made.vae, counted.vae)):
        assert {key: tensor.shape for key, tensor in mine.state_dict().items()} == {
            key: tensor.shape for key, tensor in theirs.state_dict().items()
        }
    with torch.device("meta"):
        encoders = meta_text_encoders(family)
    sizes = [sum(parameter.numel() for parameter in encoder.module.parameters()) for encoder in encoders]
    assert [sum(weight.numel() for weight in encoder.module.parameters()) for encoder in made.text_encoders] == sizes


def test_random_models_follow_from_the_seed() -> None:
    first, again, other = (random_model("SD1", CPU, torch.float32, tiny=True, seed=seed) for seed in (1, 1, 2))
    weights = [model.unet.conv_in.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("encodes", [True, False])
def test_the_plain_step_trains_one_row_of_the_vocabulary_with_plain_layers(encodes: bool) -> None:
    case = tiny()
    before = case.model.vocabulary()["clip_l"].clone()
    with torch.enable_grad(), PlainStep(case.model, 1, 64, encodes=encodes) as plain:
        assert not any(isinstance(layer, FrozenLayer) for layer in case.model.unet.modules())
        start = plain.row().clone()
        losses = [plain.step() for _ in range(2)]
        table = plain._tables[0].detach()
    assert all(0 < loss < 100 for loss in losses)
    assert not torch.equal(table[TRAINED], start)
    others = torch.arange(len(table)) != TRAINED
    assert torch.equal(table[others], before[others])
    assert torch.equal(case.model.vocabulary()["clip_l"], before), "the model's own vocabulary was trained"
    assert any(isinstance(layer, FrozenLayer) for layer in case.model.unet.modules())


def test_what_fails_is_a_note_in_the_table() -> None:
    def full() -> dict[str, Any]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    def wrong() -> dict[str, Any]:
        raise RuntimeError("no kernel\nsecond line")

    assert gpu._tried({"step": "ours"}, full) == {"step": "ours", "note": "out of memory"}
    assert gpu._tried({"step": "ours"}, wrong) == {"step": "ours", "note": "RuntimeError: no kernel"}


def test_a_graph_that_was_given_up_is_not_timed_as_one(graphs: CpuGraphs) -> None:
    graphs.problem = RuntimeError("operation not permitted")
    vectors: dict[bool, torch.Tensor] = {}
    row = time_ours(tiny(), 1, 1, graphs=True, vectors=vectors)
    assert row["note"] == "The run continues without CUDA graphs: operation not permitted."
    assert vectors == {}
    assert gpu._same_vectors({}, vectors)["result"] == "not checked"


def test_vectors_that_differ_are_told() -> None:
    row = gpu._same_vectors({}, {True: torch.tensor([1.0, 2.5]), False: torch.tensor([1.0, 2.0])})
    assert row["result"] == "differ by 0.5"


def test_errors_of_gradients_are_relative_to_fp32() -> None:
    rows = {row["computed in"]: row for row in gradient_errors(tiny(), gpu._tried)}
    assert rows["as a run computes"]["relative error"] < 1e-4
    assert rows["bf16 weights"]["relative error"] > 1e-4


def test_images_that_training_changed_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tiny()
    assert check_images(case) == {"result": "bit-identical"}

    def damage(*_given: Any, **_options: Any) -> None:
        case.model.unet.conv_in.weight.data.mul_(1.5)

    monkeypatch.setattr(gpu_measures, "train", damage)
    assert check_images(case) == {"result": "they differ"}
