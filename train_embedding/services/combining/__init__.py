"""Combining embeddings by formulas, and converting them to other formats or to SDXL."""

from train_embedding.embeddings.expression.tokens import quote_name
from train_embedding.services.combining.combining import CONVERTIBLE_FORMATS, PREVIEW_PROMPT, SDXL, UNNAMED, Combined, Combining

__all__ = ["CONVERTIBLE_FORMATS", "PREVIEW_PROMPT", "SDXL", "UNNAMED", "Combined", "Combining", "quote_name"]
