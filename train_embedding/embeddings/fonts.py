"""Fonts for text in images: Roboto, which the WebUI uses too, or one of the system's for scripts that it lacks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

ROBOTO = Path(__file__).with_name("font_files") / "Roboto-Medium.ttf"
"Latin, Greek and Cyrillic letters of Roboto Medium by Christian Robertson, under the Apache License 2.0."
SYSTEM_FONTS = (
    "NotoSansCJK-Medium.ttc", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "msyh.ttc", "msgothic.ttc", "malgun.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc",
    "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "NotoSans-Regular.ttf",
    "DejaVuSans.ttf", "arial.ttf", "Arial Unicode.ttf",
)  # fmt: skip
"Names of files in the folders where Linux, Windows and macOS keep fonts, those with most characters first."
_MISSING = "\U0010ffff"
"A character that no font has, so that its glyph is the one for missing characters."


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that has all characters of a text, or else Roboto.

    Args:
        text: The text; only its printable characters count.
        size: In pixels.
    """
    return _load(_file_for(_characters(text)) or str(ROBOTO), size)


def can_draw(text: str) -> bool:
    """Whether there is a font for a text. None with Chinese characters comes with the program, but most systems have one."""
    return _file_for(_characters(text)) is not None


@lru_cache(maxsize=256)
def _file_for(characters: str) -> str | None:
    for name in (str(ROBOTO), *SYSTEM_FONTS):
        try:
            font = _load(name, 20)
        except OSError:
            continue
        if _has_all(font, characters):
            return name
    return None


def _characters(text: str) -> str:
    return "".join(sorted({character for character in text if character.isprintable() and not character.isspace()}))


def _has_all(font: ImageFont.FreeTypeFont, characters: str) -> bool:
    missing = _drawn(font, _MISSING)
    return all(_drawn(font, character) != missing for character in characters)


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask: Any = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _load(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(name, size)
