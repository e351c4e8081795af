"""Functions that are computed by graphs: when one is recorded, what it computes, and what happens if it cannot be recorded."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from tests.checkpoints import model as tiny
from tests.recorded_operations import CpuGraphs
from train_embedding.engine.runtime import cuda_graph
from train_embedding.engine.runtime.cuda_graph import MOST_GRAPHS, GraphedFunction, Tensors, graph_backend, why_not_graphed
from train_embedding.messages import Message


class Squares:
    """Computes the gradient of the sum of (x · w)², and records how often it was called."""

    def __init__(self, backend: CpuGraphs) -> None:
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]), requires_grad=False)
        self.calls = 0
        self.said: list[Message] = []
        self.backend = backend
        self.graphed = GraphedFunction(self.compute, [self.weight], backend, self.said.append)

    def compute(self, inputs: Tensors) -> Tensors:
        self.calls += 1
        leaf = inputs["x"].detach().requires_grad_()
        loss = (leaf * self.weight).square().sum()
        return {"loss": loss.detach(), "gradient": torch.autograd.grad(loss, leaf)[0]}

    def is_right(self, x: torch.Tensor) -> bool:
        results = self.graphed({"x": x})
        expected = 2 * (x * self.weight) * self.weight
        return torch.equal(results["gradient"], expected) and torch.equal(results["loss"], (x * self.weight).square().sum())


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def test_from_the_third_call_on_a_graph_computes_the_function() -> None:
    squares = Squares(CpuGraphs())
    assert all(squares.is_right(rows(2, seed)) for seed in range(6))
    assert squares.calls == 3  # twice for itself, once to be recorded
    assert (squares.backend.recorded, squares.backend.replayed, squares.said) == (1, 1 + 4, [])


def test_each_shape_has_a_graph_until_there_are_enough() -> None:
    squares = Squares(CpuGraphs())
    for seed in range(3):
        assert all(squares.is_right(rows(count, seed)) for count in range(1, MOST_GRAPHS + 3))
    assert squares.backend.recorded == MOST_GRAPHS
    assert squares.calls == 3 * MOST_GRAPHS + 3 * 2


def test_a_shape_that_appears_once_is_not_recorded() -> None:
    squares = Squares(CpuGraphs())
    assert squares.is_right(rows(2))
    assert squares.is_right(rows(3))
    assert squares.backend.recorded == 0


def test_results_stay_as_they_were() -> None:
    squares = Squares(CpuGraphs())
    kept = [squares.graphed({"x": rows(2, seed)})["gradient"] for seed in range(5)]
    assert all(torch.equal(one, 2 * (rows(2, seed) * squares.weight) * squares.weight) for seed, one in enumerate(kept))


def test_a_function_that_reads_a_value_is_computed_without_a_graph() -> None:
    said: list[Message] = []
    backend = CpuGraphs()
    graphed = GraphedFunction(lambda inputs: {"y": inputs["x"] * inputs["x"].sum().item()}, [rows(1)], backend, said.append)
    for seed in range(4):
        x = rows(2, seed)
        assert torch.equal(graphed({"x": x})["y"], x * x.sum())
    assert said == ["The run continues without CUDA graphs: operation not permitted when stream is capturing."]
    assert (backend.recorded, backend.recovered) == (0, 1)


def test_a_function_whose_python_code_matters_is_computed_without_a_graph() -> None:
    said: list[Message] = []
    calls: list[int] = []

    def compute(inputs: Tensors) -> Tensors:
        calls.append(1)
        return {"y": inputs["x"] * len(calls)}

    graphed = GraphedFunction(compute, [rows(1)], CpuGraphs(), said.append)
    x = rows(2)
    factors = [torch.equal(graphed({"x": x})["y"], factor * x) for factor in (1, 2, 4, 5)]  # the third call is to be recorded
    assert factors == [True] * 4
    assert said == ["The run continues without CUDA graphs: its results differ."]


def test_too_little_memory_for_a_graph_is_no_error() -> None:
    squares = Squares(CpuGraphs(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")))
    assert all(squares.is_right(rows(2, seed)) for seed in range(4))
    assert squares.said == ["The run continues without CUDA graphs: there is not enough memory."]
    assert (squares.calls, squares.backend.recovered) == (4, 1)


def test_results_that_overflow_are_not_taken_for_wrong_ones() -> None:
    squares = Squares(CpuGraphs())
    huge = torch.full((2, 3), 3e38)
    for _ in range(3):
        squares.graphed({"x": huge})
    assert (squares.backend.recorded, squares.said) == (0, [])
    assert squares.is_right(rows(2))
    assert squares.backend.recorded == 1
    assert not squares.graphed({"x": huge})["loss"].isfinite()


def test_weights_that_moved_are_recorded_again() -> None:
    squares = Squares(CpuGraphs())
    assert all(squares.is_right(rows(2, seed)) for seed in range(3))
    squares.weight.data = torch.tensor([5.0, 6.0, 7.0])
    assert all(squares.is_right(rows(2, seed)) for seed in range(3))
    assert squares.backend.recorded == 2
    squares.weight.data.mul_(2)  # where it is
    assert squares.is_right(rows(2))
    assert squares.backend.recorded == 2


def test_released_graphs_keep_no_memory_and_are_recorded_again() -> None:
    squares = Squares(CpuGraphs())
    kept: list[weakref.ref[torch.Tensor]] = []
    compute = squares.compute

    def watched(inputs: Tensors) -> Tensors:
        results = compute(inputs)
        kept.extend(weakref.ref(tensor) for tensor in (*results.values(), inputs["x"]))
        return results

    squares.graphed = GraphedFunction(watched, [squares.weight], squares.backend, squares.said.append)
    assert not squares.graphed.release()
    for seed in range(3):
        squares.graphed({"x": rows(2, seed)})
    assert any(reference() is not None for reference in kept)
    assert squares.graphed.release()
    assert all(reference() is None for reference in kept)
    assert squares.is_right(rows(2))
    assert squares.backend.recorded == 2


def test_graphs_that_were_given_up_are_not_recorded_again() -> None:
    squares = Squares(CpuGraphs())
    assert all(squares.is_right(rows(2, seed)) for seed in range(3))
    assert squares.graphed.give_up()
    assert all(squares.is_right(rows(2, seed)) for seed in range(3))
    assert squares.backend.recorded == 1
    assert not squares.graphed.give_up()


def test_other_devices_have_no_graphs() -> None:
    assert graph_backend(tiny()) is None


def test_models_that_other_code_changes_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    assert why_not_graphed(model) is None
    handle = model.unet.mid_block.register_forward_hook(lambda _layer, _inputs, _output: None)
    assert why_not_graphed(model) == "other code changes the model's layers"
    handle.remove()

    def collect(_layer: object, _inputs: object, _output: object) -> None:
        pass

    collect.__module__ = "transformers.utils.output_capturing"
    handle = model.unet.mid_block.register_forward_hook(collect)
    assert why_not_graphed(model) is None
    handle.remove()
    layer = model.text_encoders[0].module
    elsewhere = nn.Parameter(torch.empty(1, device="meta"), requires_grad=False)
    layer.register_parameter("elsewhere", elsewhere)
    try:
        assert why_not_graphed(model) == "parts of the model are not on the GPU"
    finally:
        del layer.elsewhere
    assert why_not_graphed(model) is None
    assert cuda_graph.weights_of(model)
