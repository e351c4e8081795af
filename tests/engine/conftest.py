"""Models and pictures for the engine."""

from __future__ import annotations

from tests.checkpoints import pictures, tiny_checkpoint, tiny_model, tiny_source

__all__ = ["pictures", "tiny_checkpoint", "tiny_model", "tiny_source"]
