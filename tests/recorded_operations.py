"""A stand-in for CUDA graphs on the CPU: records the operations of a function, and repeats exactly these on the same tensors.

As with a graph, no Python runs when the operations are repeated, results are written where they were, and nothing may be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from train_embedding.engine.runtime.cuda_graph import Tensors


class RecordedOperations(TorchDispatchMode):
    """Records what is done within the context, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == "_local_scalar_dense":
            raise RuntimeError("operation not permitted when stream is capturing")
        outcome = func(*args, **(kwargs or {}))
        self._done.append((func, args, kwargs or {}, outcome))
        return outcome

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, outcome in self._done:
            again = func(*args, **kwargs)
            for kept, new in zip(_tensors(outcome), _tensors(again), strict=True):
                if kept.data_ptr() != new.data_ptr():  # otherwise it is a view, or was changed in place
                    kept.detach().copy_(new)


class CpuGraphs:
    """A graph backend for the CPU.

    Args:
        problem: Raised instead of recording, if any.
    """

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.recorded = self.replayed = self.recovered = 0

    def record(self, compute: Callable[[], Tensors]) -> tuple[Callable[[], None], Tensors]:
        if self.problem is not None:
            raise self.problem
        with RecordedOperations() as operations:
            results = compute()
        for result in results.values():
            result.detach().fill_(float("nan"))  # they are valid only after a replay
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            operations.repeat()

        return replay, results

    def recover(self) -> None:
        self.recovered += 1


def _tensors(value: Any) -> list[torch.Tensor]:
    return [part for part in tree_flatten(value)[0] if isinstance(part, torch.Tensor)]
