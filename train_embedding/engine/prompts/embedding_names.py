"""The placeholder `[name]` of caption templates, and the embedding's name in texts."""

from __future__ import annotations

import re

NAME = "[name]"
FILEWORDS = "[filewords]"


def mark_name(text: str, name: str) -> str:
    """The text with `[name]` wherever the embedding's name stands as a whole word; CLIP, and so this, takes no heed of case."""
    pattern = f"({re.escape(NAME)}|{re.escape(FILEWORDS)})|{_whole_word(name)}"
    return re.sub(pattern, lambda match: match[1] or NAME, text, flags=re.IGNORECASE)


def _whole_word(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"
