"""CUDA graphs: the work of a function on the GPU is recorded once for each shape of its inputs, and then launched as a whole.

A training step launches thousands of small kernels, and a fast GPU waits for the program that launches them. A graph launches all
of them at once. It repeats the same kernels on the same memory, so inputs are copied into static tensors first, and nothing that
Python computes from their values may change between two steps.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The hooks of a module have no public names.

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from train_embedding.engine.devices import is_out_of_memory, release_cached_memory
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.messages import Message, msg, verbatim

logger = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]
"Tensors by name."
Compute = Callable[[Tensors], Tensors]
"A function that reads its inputs on the device only; it does not change them."
Shapes = tuple[tuple[str, torch.Size, torch.dtype], ...]
"Names, shapes and dtypes of inputs."

MOST_GRAPHS = 8
"Largest number of graphs, one for each shape. They share their memory; further shapes are computed without a graph."
TOLERANCE = 0.05
"""Largest difference between a graph's first results and the function's, relative to the largest value. Kernels that sum in
any order do not repeat exactly."""


class GraphBackend(Protocol):
    """Records work on a device."""

    def record(self, compute: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """Record the work of a function.

        Returns:
            A function that does the work again, and the results, which it overwrites. They are valid only after its first call.

        Raises:
            RuntimeError: The work cannot be recorded.
        """
        ...

    def recover(self) -> None:
        """Make the device usable after `record` failed."""
        ...


class CudaGraphBackend:
    """Records with `torch.cuda.CUDAGraph`. All its graphs share one memory pool, because only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        """Record the work of a function; see `GraphBackend.record`."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads of the host may use the GPU meanwhile.
        with torch.cuda.device(self._device), torch.cuda.graph(graph, self._pool, capture_error_mode="thread_local"):
            results = compute()
        return graph.replay, results

    def recover(self) -> None:
        """Record something small, successfully.

        After a failed recording, torch's generator for the GPU expects to be used in a recording only ("Offset increment outside
        graph capture"), until one succeeds.
        """
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
                torch.zeros(1, device=self._device)
        except RuntimeError:
            logger.exception("The GPU could not record anything after a failed recording")


@dataclass(frozen=True)
class _Graph:
    inputs: Tensors
    "Static; copied into before each replay."
    replay: Callable[[], None]
    results: Tensors
    "Static; overwritten by each replay."

    def run(self, inputs: Tensors) -> Tensors:
        with torch.no_grad():
            for name, static in self.inputs.items():
                static.copy_(inputs[name], non_blocking=True)
            self.replay()
            return {name: result.clone() for name, result in self.results.items()}


class GraphedFunction:
    """A function that is computed by graphs where possible, and otherwise by calling it.

    A shape is computed without a graph the first time, which loads its kernels. The second time it is recorded, and the graph's
    results are compared with those of the function. If the recording fails or they differ, no graph is used any more.

    Args:
        compute: The function.
        weights: Tensors that the function reads besides its inputs. If one of them moves, all graphs are recorded again.
        backend: Records the work.
        announce: Receives a sentence if graphs are given up.
    """

    def __init__(
        self, compute: Compute, weights: Iterable[torch.Tensor], backend: GraphBackend, announce: Callable[[Message], object]
    ) -> None:
        self._compute = compute
        self._weights = list(weights)
        self._backend = backend
        self._announce = announce
        self._graphs: dict[Shapes, _Graph] = {}
        self._seen: set[Shapes] = set()
        self._places: list[int] = []
        "Addresses of the weights in the graphs."
        self.given_up = False

    def __call__(self, inputs: Tensors) -> Tensors:
        """Compute the function. The results are new tensors."""
        if self._graphs and self._places != self._places_now():
            self.release()
        shapes = _shapes_of(inputs)
        graph = self._graphs.get(shapes)
        if graph is not None:
            return graph.run(inputs)
        results = self._compute(inputs)
        wanted = shapes in self._seen and len(self._graphs) < MOST_GRAPHS and not self.given_up
        if wanted and _finite(results):  # others cannot be compared; a step that overflows is skipped anyway
            self._record(shapes, inputs, results)
        self._seen.add(shapes)
        return results

    def release(self) -> bool:
        """Free the graphs and their memory. They are recorded again when they are needed.

        Returns:
            Whether there were any.
        """
        held = bool(self._graphs)
        self._graphs.clear()
        if held:
            release_cached_memory(self._weights[0].device)
        return held

    def give_up(self) -> bool:
        """Free the graphs and record no more. Returns whether there were any."""
        self.given_up = True
        return self.release()

    def _record(self, shapes: Shapes, inputs: Tensors, results: Tensors) -> None:
        """Record a graph, and compare its first results with those of the function for the same inputs."""
        static = {name: tensor.detach().clone() for name, tensor in inputs.items()}
        try:
            graph = _Graph(static, *self._backend.record(lambda: self._compute(static)))
            same = _equal(graph.run(inputs), results)
        except Exception as error:  # whatever torch or a driver raises, the step has its results already
            logger.warning("A CUDA graph could not be recorded", exc_info=True)
            reason = msg("there is not enough memory") if is_out_of_memory(error) else verbatim(_first_line(error))
        else:
            if same:
                self._graphs[shapes] = graph
                self._places = self._places_now()
                return
            reason = msg("its results differ")
        self._fall_back(reason)  # outside the handler, because the error's traceback keeps memory in use

    def _fall_back(self, reason: Message) -> None:
        self.give_up()
        self._backend.recover()
        release_cached_memory(self._weights[0].device)
        self._announce(msg("The run continues without CUDA graphs: {reason}.", reason=reason))

    def _places_now(self) -> list[int]:
        return [weight.data_ptr() for weight in self._weights]


def graph_backend(model: DiffusionModel) -> GraphBackend | None:
    """Return what records the work of a model's device; None on devices without CUDA graphs."""
    return CudaGraphBackend(model.device) if model.device.type == "cuda" and torch.version.hip is None else None


def why_not_graphed(model: DiffusionModel) -> Message | None:
    """Return why a model's steps cannot be recorded, as a part of a sentence; None if they may be."""
    networks = _networks(model)
    if any(weight.device != model.device for network in networks for weight in network.parameters()):
        return msg("parts of the model are not on the GPU")
    if any(_has_foreign_hooks(layer) for network in networks for layer in network.modules()):
        return msg("other code changes the model's layers")
    if model.device.type == "cuda" and torch.cuda.get_allocator_backend() != "native":
        return msg("torch uses another memory allocator")
    return None


def weights_of(model: DiffusionModel) -> list[torch.Tensor]:
    """Return the tensors that a training step reads."""
    return [tensor for network in _networks(model) for tensor in (*network.parameters(), *network.buffers())]


def _networks(model: DiffusionModel) -> tuple[nn.Module, ...]:
    return (model.unet, *(encoder.module for encoder in model.text_encoders))


def _has_foreign_hooks(layer: nn.Module) -> bool:
    """Return whether code other than the libraries' own runs when a layer computes. transformers collects outputs by hooks."""
    hooks = (*layer._forward_pre_hooks.values(), *layer._forward_hooks.values())
    return any(getattr(hook, "__module__", "").partition(".")[0] not in ("transformers", "diffusers") for hook in hooks)


def _shapes_of(inputs: Tensors) -> Shapes:
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())


def _finite(results: Tensors) -> bool:
    """Return whether all results are finite. Waits for the device."""
    return all(bool(tensor.isfinite().all()) for tensor in results.values())


def _equal(results: Tensors, expected: Tensors) -> bool:
    """Return whether results are within TOLERANCE of finite ones. Waits for the device."""
    return all(
        bool(((results[name] - tensor).abs() <= TOLERANCE * tensor.abs().max()).all()) for name, tensor in expected.items()
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
