"""Placeholders in caption templates, and names of embeddings in captions."""

from __future__ import annotations

import re

NAME = "[name]"
"Placeholder for the embedding."
FILEWORDS = "[filewords]"
"Placeholder for the caption of an image."


def mark_name(text: str, name: str) -> str:
    """Replace the name of an embedding by `[name]` where it is a whole word. Case is ignored, as in CLIP."""
    pattern = f"({re.escape(NAME)}|{re.escape(FILEWORDS)})|{_whole_word(name)}"
    return re.sub(pattern, lambda match: match[1] or NAME, text, flags=re.IGNORECASE)


def _whole_word(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"
