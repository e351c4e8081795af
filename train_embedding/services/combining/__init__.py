"""Combining embeddings by formulas, and converting them to other formats or to SDXL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.embeddings.expression.tokens import quote_name
    from train_embedding.services.combining.combining import (
        PREVIEW_PROMPT,
        Combined,
        Combining,
    )
    from train_embedding.services.combining.targets import CONVERTIBLE_FORMATS, SDXL, UNNAMED

__all__ = ["CONVERTIBLE_FORMATS", "PREVIEW_PROMPT", "SDXL", "UNNAMED", "Combined", "Combining", "quote_name"]

__getattr__ = lazy_names(
    {
        "CONVERTIBLE_FORMATS": "train_embedding.services.combining.targets",
        "Combined": "train_embedding.services.combining.combining",
        "Combining": "train_embedding.services.combining.combining",
        "PREVIEW_PROMPT": "train_embedding.services.combining.combining",
        "SDXL": "train_embedding.services.combining.targets",
        "UNNAMED": "train_embedding.services.combining.targets",
        "quote_name": "train_embedding.embeddings.expression.tokens",
    }
)
