"""Infotexts: how an image was generated, in the words of the WebUI, which reads them from the file (PNG Info)."""

from __future__ import annotations

from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.images.png import with_text

KEYWORD = "parameters"
"The text chunk of a PNG file that the WebUI, Civitai and others read."


def infotext(request: Txt2ImgRequest, checkpoint_name: str = "", checkpoint_hash: str = "") -> str:
    """Return the infotext of an image.

    Args:
        request: How it was generated.
        checkpoint_name: The checkpoint; empty if unknown.
        checkpoint_hash: The first digits of its SHA-256; empty if unknown.
    """
    facts = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.guidance:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint_hash,
        "Model": checkpoint_name.replace(",", " ").replace(":", " "),
    }
    lines = [request.prompt.strip()]
    if request.negative_prompt.strip():
        lines.append(f"Negative prompt: {request.negative_prompt.strip()}")
    lines.append(", ".join(f"{name}: {value}" for name, value in facts.items() if value != ""))
    return "\n".join(lines)


def with_infotext(png: bytes, text: str) -> bytes:
    """Return a PNG file with an infotext; one that it has already is kept instead."""
    return with_text(png, KEYWORD, text)
