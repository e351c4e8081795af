"""Caption templates: those of this program, and those in the host's folder."""

from __future__ import annotations

import logging
from pathlib import Path

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.hosts.base import HostInfo

MAX_TEMPLATE_SIZE = 2**20
"Largest size of a caption template in bytes."
TEMPLATES: dict[str, tuple[str, ...]] = {
    "subject": (
        "a photo of [name]",
        "a picture of [name]",
        "a close-up of [name]",
        "a bright photo of [name]",
        "a photo of one [name]",
        "[name] in a scene",
    ),
    "style": (
        "a picture in the style of [name]",
        "a picture in the style of [name], [filewords]",
        "a painting by [name]",
        "art by [name], [filewords]",
        "a scene in the style of [name]",
        "a close-up in the style of [name]",
        "a drawing, art by [name], [filewords]",
    ),
    "negative": ("[name]", "a picture, [name]", "[name], [filewords]"),
    "caption file only": ("[name], [filewords]",),
}
"Caption templates that come with this program, by name."

logger = logging.getLogger(__name__)


def find_templates(info: HostInfo) -> dict[str, tuple[str, ...]]:
    """Return the caption templates by name: those of this program, and the host's `*.txt` files, which take precedence.

    Every template has at least one line with [name].
    """
    found = dict(TEMPLATES)
    folder = info.templates_folder
    files = sorted(folder.glob("*.txt")) if folder is not None and folder.is_dir() else []
    for file in files:
        lines = _read_template(file)
        if any("[name]" in line for line in lines):
            found[file.stem] = lines
    return found


def _read_template(file: Path) -> tuple[str, ...]:
    from train_embedding.engine.data.captions import decode_text

    try:
        text = decode_text(read_regular_file(file, MAX_TEMPLATE_SIZE)[:MAX_TEMPLATE_SIZE])
    except (OSError, ValueError) as error:
        logger.warning("The caption template %s cannot be read: %s", file, error)
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
