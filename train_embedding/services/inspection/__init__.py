"""Inspection: the contents of an embedding, and the tokens of a prompt."""

from train_embedding.services.inspection.inspection import Inspection, PromptTokens
from train_embedding.services.inspection.prompt_view import PromptPart
from train_embedding.services.inspection.reports import EncoderReport, Report, VectorFigures
from train_embedding.services.inspection.vocabularies import Vocabularies

__all__ = ["EncoderReport", "Inspection", "PromptPart", "PromptTokens", "Report", "VectorFigures", "Vocabularies"]
