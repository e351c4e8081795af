"""The placeholders of caption templates, and embedding names in captions."""

from __future__ import annotations

import re

NAME = "[name]"
"Stands for the embedding."
FILEWORDS = "[filewords]"
"Stands for an image's caption."


def mark_name(text: str, name: str) -> str:
    """Replace the embedding's name by `[name]` wherever it is a whole word; case does not matter, as for CLIP."""
    pattern = f"({re.escape(NAME)}|{re.escape(FILEWORDS)})|{_whole_word(name)}"
    return re.sub(pattern, lambda match: match[1] or NAME, text, flags=re.IGNORECASE)


def _whole_word(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"
