"""Data parallel training: each process computes the gradient of its rows of a batch, and the main process averages the gradients.

Optimizer, EMA, evaluations and early stopping run in the main process only. The workers receive the images once and the vectors
with each step, so that they read and write no files and have no state that could diverge.
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
from train_embedding.engine.runtime.precision import LossScale, follow, forget_fallbacks
from train_embedding.engine.training.distill import encode_teacher
from train_embedding.engine.training.loop import accumulate_gradient
from train_embedding.engine.training.state import VectorTables
from train_embedding.errors import TrainEmbeddingError, TrainingFailed
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg, verbatim

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSetup:
    """Data that a worker receives before the first step.

    Attributes:
        resolved: The options of the run.
        images: The encoded images.
        vectors: Number of vectors of the embedding.
    """

    resolved: ResolvedSpec
    images: list[EncodedImage]
    vectors: int


@dataclass(frozen=True)
class Step:
    """Task for a worker: compute the gradient of a step.

    Attributes:
        number: Number of the step, from 1.
        vectors: [n, d] per text encoder, on the CPU.
        checkpointing: Whether to use gradient checkpointing, as in the main process.
        scale: Result of `LossScale.values`.
        scaled: Whether the loss is scaled.
    """

    number: int
    vectors: VectorTables
    checkpointing: bool
    scale: dict[str, torch.Tensor]
    scaled: bool


@dataclass(frozen=True)
class GradientShare:
    """Loss and gradient of the rows of one process, on the CPU.

    Attributes:
        loss: Mean over the rows, a scalar.
        gradient: [n, d] per trained text encoder.
    """

    loss: torch.Tensor
    gradient: VectorTables


@dataclass(frozen=True)
class Failure:
    """An error in a worker, which the main process reports."""

    message: Message
    hint: Message = NOTHING
    out_of_memory: bool = False


class DistributedGradient:
    """Replaces `accumulate_gradient` in the main process: computes the mean gradient and loss of all processes.

    Args:
        processes: The group; this is its main process.
        setup: Data for the workers, sent immediately.

    Raises:
        TrainingFailed: A worker failed or has ended.
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
    """Computes gradients for the main process. A context manager that restores the model on exit.

    Args:
        processes: The group; this is one of its workers.
        model: The frozen model, changed in place while gradient checkpointing is on.
    """

    def __init__(self, processes: Processes, model: DiffusionModel) -> None:
        self._processes = processes
        self._model = model
        self._cleanup = ExitStack()
        self._checkpointed = False
        self._setup: WorkerSetup | None = None
        self._dataset: LatentDataset | None = None

    def handle(self, task: WorkerSetup | Step) -> GradientShare | Failure | None:
        """Perform a task of the main process. Errors are returned as an answer, because the main process waits for one."""
        try:
            return self._set_up(task) if isinstance(task, WorkerSetup) else self._compute(task)
        except TrainEmbeddingError as error:
            return Failure(error.message, error.hint)
        except Exception as error:
            if is_out_of_memory(error):
                return Failure(verbatim(str(error)), out_of_memory=True)
            logger.exception("Process %d failed", self._processes.rank)
            return Failure(verbatim(f"{type(error).__name__}: {error}"))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_error: object) -> None:
        self._cleanup.close()

    def _set_up(self, setup: WorkerSetup) -> None:
        spec, device = setup.resolved.spec, self._model.device
        forget_fallbacks(self._model)
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
        follow(self._model, scale)
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
            failed = msg("Process {rank} of {count} failed.", rank=rank, count=len(answers))
            raise TrainingFailed(joined((failed, answer.message), SPACE), answer.hint)
