"""Grids of images that compare the steps of a run, or several embeddings, and the choice of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.comparing.comparing import Comparing
    from train_embedding.services.comparing.comparison import ComparableStep, Comparison, Used
    from train_embedding.services.comparing.grid import MAX_PROMPTS, SHOWN_STEPS, GridOptions, Row, parse_prompts, parse_steps

__all__ = [
    "MAX_PROMPTS",
    "SHOWN_STEPS",
    "ComparableStep",
    "Comparing",
    "Comparison",
    "GridOptions",
    "Row",
    "Used",
    "parse_prompts",
    "parse_steps",
]

_MODULES = {
    "comparing": ("Comparing",),
    "comparison": ("ComparableStep", "Comparison", "Used"),
    "grid": ("MAX_PROMPTS", "SHOWN_STEPS", "GridOptions", "Row", "parse_prompts", "parse_steps"),
}
__getattr__ = lazy_names(
    {name: f"train_embedding.services.comparing.{module}" for module in _MODULES for name in _MODULES[module]}
)
