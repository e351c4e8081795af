"""A batch shared out: whose rows are whose, and what happens when a process fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import SimulatedProcesses
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training import data_parallel
from train_embedding.engine.training.data_parallel import DistributedGradient, Step, WorkerSetup
from train_embedding.engine.training.loop import accumulate_gradient
from train_embedding.errors import Conflict, TrainingFailed

SPEC = TrainingSpec(
    embedding="sword", dataset="x", batch_size=2, template=("a [name]", "the [name] in a box"), latent_sampling="random",
    random_flip=True, timesteps="shifted", gradient_accumulation_steps=2, seed=5,
)  # fmt: skip
UNSCALED = LossScale(torch.device("cpu"), enabled=False)


def encoded(count: int = 5, size: int = 32) -> list[EncodedImage]:
    generator = torch.Generator().manual_seed(4)

    def moments() -> LatentMoments:
        return LatentMoments(
            torch.randn(4, size // 8, size // 8, generator=generator), torch.full((4, size // 8, size // 8), 0.1)
        )

    mask = torch.rand(size // 8, size // 8, generator=generator)
    return [
        EncodedImage(
            TrainingImage(f"{i}.png", Path(), "", (size, size), (size, size)), moments(), moments(), mask if i % 2 else None
        )
        for i in range(count)
    ]


def dataset(spec: TrainingSpec, processes: Processes = SINGLE_PROCESS) -> LatentDataset:
    return LatentDataset(encoded(), resolve(spec, 32), 2, processes=processes)


def start(model: DiffusionModel) -> dict[str, torch.Tensor]:
    return {"clip_l": model.token_embeddings("red star")["clip_l"].clone().requires_grad_()}


def shared(model: DiffusionModel, count: int, spec: TrainingSpec) -> tuple[SimulatedProcesses, DistributedGradient]:
    processes = SimulatedProcesses(model, count)
    return processes, DistributedGradient(processes, WorkerSetup(resolve(spec, 32), encoded(), 2))


@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_the_rows_of_one_batch(count: int) -> None:
    whole = dataset(replace(SPEC, batch_size=2 * count)).batch(3)
    parts = [dataset(SPEC, Processes(rank, count)).batch(3) for rank in range(count)]
    assert all(torch.equal(part.latents, whole.latents) for part in parts)
    assert torch.equal(torch.cat([part.select(part.local_rows).latents for part in parts]), whole.latents)
    assert torch.equal(torch.cat([part.select(part.local_rows).prompts.slots for part in parts]), whole.prompts.slots)
    assert len(whole.select(whole.local_rows).latents) == 2 * count


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "changes", [{}, {"min_snr_gamma": 5.0, "loss": "huber"}, {"latent_sampling": "once", "timesteps": "uniform"}]
)
def test_the_mean_gradient_is_that_of_one_process(tiny_model: DiffusionModel, count: int, changes: dict[str, Any]) -> None:
    spec = replace(SPEC, **changes)
    alone, together = start(tiny_model), start(tiny_model)
    whole = replace(spec, batch_size=2 * count)
    loss = accumulate_gradient(tiny_model, alone, dataset(whole), whole, 2, UNSCALED)
    processes, gradient = shared(tiny_model, count, spec)
    shared_loss = gradient(tiny_model, together, dataset(spec, processes), spec, 2, UNSCALED)
    expected, got = alone["clip_l"].grad, together["clip_l"].grad
    assert expected is not None
    assert got is not None
    assert float((got - expected).norm() / expected.norm()) < 1e-5
    assert shared_loss.item() == pytest.approx(loss.item(), rel=1e-6)
    assert shared_loss.shape == ()
    assert not shared_loss.requires_grad


def test_a_failure_names_the_process_and_the_reason(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    processes, gradient = shared(tiny_model, 3, SPEC)
    data, vectors = dataset(SPEC, processes), start(tiny_model)
    for error, sentence in (
        (Conflict("It is taken.", "Take another."), "Process 2 of 3 failed. It is taken. Take another."),
        (ZeroDivisionError("by zero"), "Process 2 of 3 failed. ZeroDivisionError: by zero"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(processes.workers[1], "_compute", raising(error))
            with pytest.raises(TrainingFailed) as caught:
                gradient(tiny_model, vectors, data, SPEC, 1, UNSCALED)
        assert str(caught.value) == sentence
    gradient(tiny_model, vectors, data, SPEC, 1, UNSCALED)  # the others went on


def test_a_process_that_cannot_begin_says_so_before_the_first_step(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = SimulatedProcesses(tiny_model, 2)
    monkeypatch.setattr(processes.workers[0], "_set_up", raising(MemoryError()))
    with pytest.raises(TrainingFailed, match=r"Process 1 of 2 failed\. MemoryError"):
        DistributedGradient(processes, WorkerSetup(resolve(SPEC, 32), encoded(), 2))


def test_memory_that_is_short_anywhere_is_saved_everywhere(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    processes, gradient = shared(tiny_model, 2, SPEC)
    data, vectors = dataset(SPEC, processes), start(tiny_model)
    with monkeypatch.context() as patched:
        patched.setattr(processes.workers[0], "_compute", raising(torch.cuda.OutOfMemoryError("full")))
        with pytest.raises(torch.cuda.OutOfMemoryError):
            gradient(tiny_model, vectors, data, SPEC, 1, UNSCALED)
    plain = gradient(tiny_model, vectors, data, SPEC, 1, UNSCALED)
    assert not processes.tasks[-1].checkpointing
    with data_parallel.gradient_checkpointing(tiny_model):
        saving = gradient(tiny_model, vectors, data, SPEC, 1, UNSCALED)
        assert processes.tasks[-1].checkpointing
    assert saving.item() == pytest.approx(plain.item(), rel=1e-5)
    for worker in processes.workers:
        worker.__exit__()
    assert not tiny_model.unet.is_gradient_checkpointing


def test_encoders_that_are_not_trained_get_no_gradient(tiny_model: DiffusionModel) -> None:
    processes, _ = shared(tiny_model, 2, replace(SPEC, encoders="clip_l"))
    step = Step(1, {key: tensor.detach() for key, tensor in start(tiny_model).items()}, False, UNSCALED.values(), False)
    answer: Any = processes.workers[0].handle(step)
    assert list(answer.gradient) == ["clip_l"]


def raising(error: Exception) -> Any:
    def fail(*_arguments: object) -> None:
        raise error

    return fail
