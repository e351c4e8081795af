"""A batch shared out: every process computes the gradient of its rows, and the main one goes on with the mean of all.

The optimizer, the running average, the evaluations and the stop rule are the main process's alone. The others are handed the
pictures once and the vectors with each step, so they read and write no file, and nothing of theirs can drift away.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec
from train_embedding.engine.data.latents import EncodedPicture, LatentDataset
from train_embedding.engine.devices import is_out_of_memory, release_cached_memory
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.process_group import Processes
from train_embedding.engine.runtime.gradient_checkpointing import checkpointed
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training.distill import encode_teacher
from train_embedding.engine.training.loop import accumulated_gradient
from train_embedding.engine.training.state import Tables
from train_embedding.errors import TrainEmbeddingError, TrainingFailed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lesson:
    """What the others learn from. vectors: how many the embedding has."""

    resolved: ResolvedSpec
    pictures: list[EncodedPicture]
    vectors: int


@dataclass(frozen=True)
class Step:
    """A step to compute the gradient of. vectors: [n, d] per text encoder, on the CPU."""

    number: int
    vectors: Tables
    checkpointed: bool
    "Whether to do with less memory, as the main process does."
    scale: dict[str, torch.Tensor]
    "What `LossScale.values` gave."
    scaled: bool


@dataclass(frozen=True)
class Share:
    """What became of a process's rows: the mean loss, a scalar, and the gradient [n, d] per trained encoder; on the CPU."""

    loss: torch.Tensor
    gradient: Tables


@dataclass(frozen=True)
class Failure:
    """What went wrong in a process, for the main one to say."""

    message: str
    hint: str = ""
    out_of_memory: bool = False


class SharedGradient:
    """In the main process, takes the place of `accumulated_gradient`: the mean gradient and loss of all processes.

    Raises TrainingFailed where another process fails or is gone, torch.cuda.OutOfMemoryError where it ran out of memory.
    """

    def __init__(self, processes: Processes, lesson: Lesson) -> None:
        self._processes = processes
        _refuse_failures(processes.ask(lesson, lambda: None))

    def __call__(
        self,
        model: DiffusionModel,
        vectors: Tables,
        dataset: LatentDataset,
        spec: TrainingSpec,
        step: int,
        scale: LossScale,
    ) -> torch.Tensor:
        copies = {key: tensor.detach().cpu() for key, tensor in vectors.items()}
        task = Step(step, copies, bool(model.unet.is_gradient_checkpointing), scale.values(), scale.enabled)
        shares = self._processes.ask(task, lambda: _share(model, vectors, dataset, spec, step, scale))
        _refuse_failures(shares)
        for key in shares[0].gradient:
            tensor = vectors[key]
            tensor.grad = torch.stack([share.gradient[key] for share in shares]).mean(0).to(tensor.device)
        return torch.stack([share.loss for share in shares]).mean().to(model.device)


class Follower:
    """The work of a process that is not the main one; a context, at whose end the model is as it was."""

    def __init__(self, processes: Processes, model: DiffusionModel) -> None:
        self._processes = processes
        self._model = model
        self._borrowed = ExitStack()
        self._checkpointed = False
        self._lesson: Lesson | None = None
        self._dataset: LatentDataset | None = None

    def answer(self, task: Lesson | Step) -> Share | Failure | None:
        """Does what the main process asks; whatever goes wrong is part of the answer, for that one waits."""
        try:
            return self._learn(task) if isinstance(task, Lesson) else self._compute(task)
        except TrainEmbeddingError as error:
            return Failure(error.message, error.hint)
        except Exception as error:
            if is_out_of_memory(error):
                return Failure(str(error), out_of_memory=True)
            logger.exception("Process %d failed", self._processes.rank)
            return Failure(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_error: object) -> None:
        self._borrowed.close()

    def _learn(self, lesson: Lesson) -> None:
        spec, device = lesson.resolved.spec, self._model.device
        teacher = encode_teacher(self._model, spec.teacher_prompt) if spec.distills else None
        self._lesson = lesson
        self._dataset = LatentDataset(lesson.pictures, lesson.resolved, lesson.vectors, device, teacher, self._processes)

    def _compute(self, step: Step) -> Share:
        assert self._lesson is not None
        assert self._dataset is not None
        if step.checkpointed and not self._checkpointed:
            release_cached_memory(self._model.device)
            self._borrowed.enter_context(checkpointed(self._model))
            self._checkpointed = True
        spec = self._lesson.resolved.spec
        vectors = {key: tensor.to(self._model.device, copy=True) for key, tensor in step.vectors.items()}
        for key in spec.trained_encoders(vectors):
            vectors[key].requires_grad_()
        scale = LossScale(self._model.device, step.scaled)
        scale.load(step.scale)
        return _share(self._model, vectors, self._dataset, spec, step.number, scale)


def _share(
    model: DiffusionModel, vectors: Tables, dataset: LatentDataset, spec: TrainingSpec, step: int, scale: LossScale
) -> Share:
    loss = accumulated_gradient(model, vectors, dataset, spec, step, scale)
    return Share(loss.cpu(), {key: tensor.grad.cpu() for key, tensor in vectors.items() if tensor.grad is not None})


def _refuse_failures(answers: list[Share | Failure | None]) -> None:
    for rank, answer in enumerate(answers):
        if isinstance(answer, Failure):
            if answer.out_of_memory:
                raise torch.cuda.OutOfMemoryError(answer.message)
            raise TrainingFailed(f"Process {rank} of {len(answers)} failed. {answer.message}", answer.hint)
