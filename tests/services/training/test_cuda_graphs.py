"""Runs with CUDA graphs, for which recorded operations on the CPU stand in."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures
from tests.recorded_operations import CpuGraphs
from tests.training import Trainee, trainee
from train_embedding.engine.runtime import cuda_graph
from train_embedding.engine.training import loop
from train_embedding.hosts.base import Progress, Txt2ImgRequest
from train_embedding.services.run_records import RunState

__all__ = ["pictures", "trainee"]

ON: dict[str, Any] = {"cuda_graphs": True}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> CpuGraphs:
    made = CpuGraphs()
    monkeypatch.setattr(cuda_graph, "graph_backend", lambda _model: made)
    return made


def vectors_after(trainee: Trainee, **values: Any) -> torch.Tensor:
    """Those of a finished run that starts from the untrained embedding."""
    trainee.reset()
    ended = trainee.run(**{**ON, **values})
    assert (ended.status, ended.error) == ("finished", "")
    return trainee.embedding().vectors["clip_l"]


def test_a_run_with_graphs_ends_with_the_same_vectors(trainee: Trainee, graphs: CpuGraphs) -> None:
    with_graphs = vectors_after(trainee, steps=6)
    assert graphs.replayed > graphs.recorded > 0
    recorded = graphs.recorded
    assert torch.equal(vectors_after(trainee, steps=6, cuda_graphs=False), with_graphs)
    assert graphs.recorded == recorded, "they were switched off"


def stopped_at(trainee: Trainee, step: int, **values: Any) -> RunState:
    """A new run from the untrained embedding that was stopped after a step."""
    trainee.reset()
    started: list[RunState] = []

    def stop(progress: Progress) -> None:
        if progress.step == step:
            trainee.services.runs.stop(started[0].id)

    trainee.host.on_report = stop
    started.append(trainee.start(**ON, **values))
    ended = trainee.wait(started[0])
    trainee.host.on_report = lambda _progress: None
    assert (ended.status, ended.step) == ("stopped", step)
    return ended


@pytest.mark.parametrize("changes", [{}, {"cuda_graphs": False}], ids=["as before", "switched off"])
def test_a_resumed_run_is_bit_identical(trainee: Trainee, graphs: CpuGraphs, changes: dict[str, Any]) -> None:
    whole = vectors_after(trainee, steps=7)
    stopped = stopped_at(trainee, 4, steps=7)
    assert graphs.recorded == 2
    assert trainee.wait(trainee.services.runs.resume(stopped.id, changes)).status == "finished"
    assert graphs.recorded == (2 if changes else 3)
    assert torch.equal(trainee.embedding().vectors["clip_l"], whole)


def test_a_run_whose_steps_cannot_be_recorded_says_so_and_ends_as_usual(trainee: Trainee, graphs: CpuGraphs) -> None:
    usual = vectors_after(trainee, steps=4, cuda_graphs=False)
    trainee.reset()
    graphs.problem = RuntimeError("CUDA error: operation failed\nCompile with TORCH_USE_CUDA_DSA")
    ended = trainee.run(**ON, steps=4)
    assert ended.status == "finished"
    assert ended.notes == ("The run continues without CUDA graphs: CUDA error: operation failed.",)
    assert torch.equal(trainee.embedding().vectors["clip_l"], usual)


def test_a_model_that_cannot_be_recorded_is_named(trainee: Trainee, graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "why_not_graphed", lambda _model: "parts of the model are not on the GPU")
    ended = trainee.run(**ON, steps=4)
    assert ended.notes == ("CUDA graphs are not used: parts of the model are not on the GPU.",)
    assert graphs.recorded == 0


def test_out_of_memory_frees_graphs_before_anything_slower_is_tried(
    trainee: Trainee, graphs: CpuGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = loop.draw_noise, list[bool]()

    def draw_noise(model: Any, *rest: Any) -> Any:
        seen.append(model.unet.is_gradient_checkpointing)
        if len(seen) in (4, 6):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(model, *rest)

    monkeypatch.setattr("train_embedding.engine.training.graphed_gradient.draw_noise", draw_noise)
    ended = trainee.run(**ON, steps=6)
    assert (ended.status, ended.step) == ("finished", 6)
    assert seen == [False] * 6 + [True] * 2
    assert ended.notes == (
        "Memory ran out at step 4. The run continues without CUDA graphs.",
        "Memory ran out at step 5. The run continues with gradient checkpointing, which needs less memory and is slower.",
    )
    assert graphs.recorded == 1


def test_graphs_are_freed_while_a_preview_is_drawn(trainee: Trainee, graphs: CpuGraphs) -> None:
    recorded_before: list[int] = []

    def drawn(_request: Txt2ImgRequest) -> None:
        recorded_before.append(graphs.recorded)

    trainee.host.on_txt2img = drawn
    usual = vectors_after(trainee, steps=9, cuda_graphs=False)
    assert torch.equal(vectors_after(trainee, steps=9, preview_every=4, preview_steps=1), usual)
    assert recorded_before == [0, 1, 2], "it was recorded anew after each preview"


def test_graphs_are_freed_while_other_jobs_run(trainee: Trainee, graphs: CpuGraphs) -> None:
    held: list[int] = []
    threads: list[threading.Thread] = []

    def generate() -> None:
        with trainee.host.exclusive("generating"):
            held.append(graphs.recorded)

    def ask(progress: Progress) -> None:
        if progress.step == 4:
            threads.append(threading.Thread(target=generate))
            threads[0].start()
            while not trainee.host.has_waiters():
                time.sleep(0.001)

    trainee.host.on_report = ask
    assert trainee.run(**ON, steps=7).status == "finished"
    threads[0].join(20)
    assert held == [1]
    assert graphs.recorded == 2
