"""Cost of a training step at true model size: floating-point operations, kernels and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.engine.profiling.flops import flop_table
    from train_embedding.engine.profiling.launches import launch_table
    from train_embedding.engine.profiling.memory import memory_table

__all__ = ["flop_table", "launch_table", "memory_table"]

__getattr__ = lazy_names(
    {
        "flop_table": "train_embedding.engine.profiling.flops",
        "launch_table": "train_embedding.engine.profiling.launches",
        "memory_table": "train_embedding.engine.profiling.memory",
    }
)
