"""Data parallel training: every process computes the gradient of its rows of a batch; the main one averages the gradients.

The optimizer, the EMA, the evaluations and early stopping run in the main process alone. The workers receive the images once
and the vectors with each step, so they read and write no file and keep no state that could diverge.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.devices import is_out_of_memory, release_cached_memory
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.process_group import Processes
from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training.distill import encode_teacher
from train_embedding.engine.training.loop import accumulate_gradient
from train_embedding.engine.training.state import VectorTables
from train_embedding.errors import TrainEmbeddingError, TrainingFailed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs before the first step."""

    resolved: ResolvedSpec
    images: list[EncodedImage]
    vectors: int
    "Number of vectors of the embedding."


@dataclass(frozen=True)
class Step:
    """A step whose gradient a worker computes."""

    number: int
    vectors: VectorTables
    "[n, d] per text encoder, on the CPU."
    checkpointing: bool
    "Whether to use gradient checkpointing, as the main process does."
    scale: dict[str, torch.Tensor]
    "What `LossScale.values` returned."
    scaled: bool
    "Whether the loss is scaled at all."


@dataclass(frozen=True)
class GradientShare:
    """The loss and the gradient of one process's rows, on the CPU."""

    loss: torch.Tensor
    "Mean over the rows, a scalar."
    gradient: VectorTables
    "[n, d] per trained text encoder."


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker, for the main process to report."""

    message: str
    hint: str = ""
    out_of_memory: bool = False


class DistributedGradient:
    """Replaces `accumulate_gradient` in the main process: computes the mean gradient and loss of all processes.

    Args:
        processes: The group, of which this process is the main one.
        setup: Sent to the workers at once.

    Raises:
        TrainingFailed: A worker failed or is gone.
        torch.cuda.OutOfMemoryError: A worker ran out of memory.
    """

    def __init__(self, processes: Processes, setup: WorkerSetup) -> None:
        self._processes = processes
        _raise_failures(processes.run(setup, lambda: None))

    def __call__(
        self,
        model: DiffusionModel,
        vectors: VectorTables,
        dataset: LatentDataset,
        spec: TrainingSpec,
        step: int,
        scale: LossScale,
    ) -> torch.Tensor:
        copies = {key: tensor.detach().cpu() for key, tensor in vectors.items()}
        task = Step(step, copies, bool(model.unet.is_gradient_checkpointing), scale.values(), scale.enabled)
        shares = self._processes.run(task, lambda: _gradient_share(model, vectors, dataset, spec, step, scale))
        _raise_failures(shares)
        for key in shares[0].gradient:
            tensor = vectors[key]
            tensor.grad = torch.stack([share.gradient[key] for share in shares]).mean(0).to(tensor.device)
        return torch.stack([share.loss for share in shares]).mean().to(model.device)


class Worker:
    """Computes the gradients that the main process asks for. A context manager, which restores the model at its end.

    Args:
        processes: The group, of which this process is not the main one.
        model: Trained on; changed in place while gradient checkpointing is on.
    """

    def __init__(self, processes: Processes, model: DiffusionModel) -> None:
        self._processes = processes
        self._model = model
        self._cleanup = ExitStack()
        self._checkpointed = False
        self._setup: WorkerSetup | None = None
        self._dataset: LatentDataset | None = None

    def handle(self, task: WorkerSetup | Step) -> GradientShare | Failure | None:
        """Carry out a task of the main process. An error becomes part of the answer, since that process waits for one."""
        try:
            return self._set_up(task) if isinstance(task, WorkerSetup) else self._compute(task)
        except TrainEmbeddingError as error:
            return Failure(error.message, error.hint)
        except Exception as error:
            if is_out_of_memory(error):
                return Failure(str(error), out_of_memory=True)
            logger.exception("Process %d failed", self._processes.rank)
            return Failure(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        self._cleanup.close()

    def _set_up(self, setup: WorkerSetup) -> None:
        spec, device = setup.resolved.spec, self._model.device
        teacher = encode_teacher(self._model, spec.teacher_prompt) if spec.distills else None
        self._setup = setup
        self._dataset = LatentDataset(setup.images, setup.resolved, setup.vectors, device, teacher, self._processes)

    def _compute(self, step: Step) -> GradientShare:
        assert self._setup is not None
        assert self._dataset is not None
        if step.checkpointing and not self._checkpointed:
            release_cached_memory(self._model.device)
            self._cleanup.enter_context(gradient_checkpointing(self._model))
            self._checkpointed = True
        spec = self._setup.resolved.spec
        vectors = {key: tensor.to(self._model.device, copy=True) for key, tensor in step.vectors.items()}
        for key in spec.trained_encoders(vectors):
            vectors[key].requires_grad_()
        scale = LossScale(self._model.device, step.scaled)
        scale.load(step.scale)
        return _gradient_share(self._model, vectors, self._dataset, spec, step.number, scale)


def _gradient_share(
    model: DiffusionModel, vectors: VectorTables, dataset: LatentDataset, spec: TrainingSpec, step: int, scale: LossScale
) -> GradientShare:
    loss = accumulate_gradient(model, vectors, dataset, spec, step, scale)
    return GradientShare(loss.cpu(), {key: tensor.grad.cpu() for key, tensor in vectors.items() if tensor.grad is not None})


def _raise_failures(answers: list[GradientShare | Failure | None]) -> None:
    for rank, answer in enumerate(answers):
        if isinstance(answer, Failure):
            if answer.out_of_memory:
                raise torch.cuda.OutOfMemoryError(answer.message)
            raise TrainingFailed(f"Process {rank} of {len(answers)} failed. {answer.message}", answer.hint)
