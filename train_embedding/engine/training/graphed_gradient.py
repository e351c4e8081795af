"""The gradient of a training step, computed with CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.data.latents import Batch, LatentDataset
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.engine.runtime.cuda_graph import GraphBackend, GraphedFunction, Tensors, weights_of
from train_embedding.engine.runtime.precision import LossScale, compute_dtype
from train_embedding.engine.training.loop import NoisyBatch, draw_noise, noisy_loss
from train_embedding.engine.training.state import VectorTables
from train_embedding.messages import Message

_VECTORS, _TRAINED = "vectors of ", "trained vectors of "
"What the names of inputs begin with, before the key of a text encoder."
_GRADIENT = "gradient of "
"The same for results."


class GraphedGradient:
    """Replaces `accumulate_gradient` for one run: computes the same with graphs.

    A graph contains the text encoders, the UNet, the loss and the backward pass to the vectors. Batches and random numbers are
    made outside, on the CPU, and copied into the inputs of the graph.

    Args:
        model: The frozen model of the run.
        spec: The options of the run.
        scale: Loss scaling of the run; only whether it is enabled matters.
        backend: Records the graphs.
        announce: Receives a sentence if graphs are given up.
    """

    def __init__(
        self,
        model: DiffusionModel,
        spec: TrainingSpec,
        scale: LossScale,
        backend: GraphBackend,
        announce: Callable[[Message], object],
    ) -> None:
        self._model = model
        self._dtype = compute_dtype(model)
        self._function = GraphedFunction(gradient_function(model, spec, scale), weights_of(model), backend, announce)

    def __call__(
        self,
        model: DiffusionModel,
        vectors: VectorTables,
        dataset: LatentDataset,
        spec: TrainingSpec,
        step: int,
        scale: LossScale,
    ) -> torch.Tensor:
        """Add the gradient of the step's mean loss to the vectors, as `accumulate_gradient` does."""
        assert model is self._model, "the graphs are those of another model"
        if self._dtype != (dtype := compute_dtype(model)):
            self._dtype = dtype
            self.release()
        count = spec.gradient_accumulation_steps
        losses: list[torch.Tensor] = []
        for index in range(count):
            drawn = draw_noise(model, dataset.batch((step - 1) * count + index + 1), spec)
            results = self._function(step_inputs(vectors, drawn, scale))
            for key, leaf in vectors.items():
                if leaf.requires_grad:
                    gradient = results[_GRADIENT + key]
                    leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
            losses.append(results["loss"])
        return torch.stack(losses).sum()

    def release(self) -> bool:
        """Free the memory of the graphs until they are needed again. Returns whether there were any."""
        return self._function.release()

    def give_up(self) -> bool:
        """Free the memory of the graphs, and use none any more. Returns whether there were any."""
        return self._function.give_up()


def gradient_function(model: DiffusionModel, spec: TrainingSpec, scale: LossScale) -> Callable[[Tensors], Tensors]:
    """Return a function of the inputs of a step, which computes its loss and the gradients of the trained vectors."""

    def compute(inputs: Tensors) -> Tensors:
        vectors = {
            name.removeprefix(prefix): tensor.detach().requires_grad_(prefix == _TRAINED)
            for name, tensor in inputs.items()
            for prefix in (_VECTORS, _TRAINED)
            if name.startswith(prefix)
        }
        loss = noisy_loss(model, vectors, _drawn(inputs), spec) / spec.gradient_accumulation_steps
        scale.with_factor(inputs["factor"]).add_gradient(loss, vectors.values())
        gradients = {_GRADIENT + key: leaf.grad for key, leaf in vectors.items() if leaf.grad is not None}
        return {"loss": loss.detach(), **gradients}

    return compute


def step_inputs(vectors: VectorTables, drawn: NoisyBatch, scale: LossScale) -> Tensors:
    """Return everything that a step's loss and gradient depend on besides the model and the options."""
    batch, teacher = drawn.batch, drawn.batch.teacher
    optional = {
        "token weights": batch.prompts.weights,
        "position weights": batch.weights,
        "teacher": None if teacher is None else teacher.context,
        "pooled teacher": None if teacher is None else teacher.pooled,
    }
    return {
        **{(_TRAINED if tensor.requires_grad else _VECTORS) + key: tensor for key, tensor in vectors.items()},
        "factor": scale.factor,
        "latents": batch.latents,
        "noise": drawn.noise,
        "timesteps": drawn.timesteps,
        "ids": batch.prompts.ids,
        "slots": batch.prompts.slots,
        **{name: tensor for name, tensor in optional.items() if tensor is not None},
    }


def _drawn(inputs: Tensors) -> NoisyBatch:
    """Reverse `step_inputs`. The generator of the batch is not used any more."""
    teacher = Conditioning(inputs["teacher"], inputs.get("pooled teacher")) if "teacher" in inputs else None
    prompts = PromptBatch(inputs["ids"], inputs["slots"], inputs.get("token weights"))
    batch = Batch(inputs["latents"], prompts, torch.Generator(), inputs.get("position weights"), teacher)
    return NoisyBatch(batch, inputs["noise"], inputs["timesteps"])
