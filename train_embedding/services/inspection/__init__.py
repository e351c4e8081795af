"""Inspection: the contents of an embedding, and the tokens of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.inspection.inspection import Inspection, PromptTokens
    from train_embedding.services.inspection.prompt_view import PromptPart
    from train_embedding.services.inspection.reports import EncoderReport, Report, VectorFigures
    from train_embedding.services.inspection.vocabularies import Vocabularies

__all__ = ["EncoderReport", "Inspection", "PromptPart", "PromptTokens", "Report", "VectorFigures", "Vocabularies"]

__getattr__ = lazy_names(
    {
        "EncoderReport": "train_embedding.services.inspection.reports",
        "Inspection": "train_embedding.services.inspection.inspection",
        "PromptPart": "train_embedding.services.inspection.prompt_view",
        "PromptTokens": "train_embedding.services.inspection.inspection",
        "Report": "train_embedding.services.inspection.reports",
        "VectorFigures": "train_embedding.services.inspection.reports",
        "Vocabularies": "train_embedding.services.inspection.vocabularies",
    }
)
