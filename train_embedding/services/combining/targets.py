"""What embeddings can be converted to, and the name of a result without one."""

from __future__ import annotations

UNNAMED = "combined"
"The name of a result if none is given."
SDXL = "sdxl"
"The target of `convert` for an SDXL embedding."
CONVERTIBLE_FORMATS = {"pt": ".pt", "safetensors": ".safetensors", "png": ".png", "webp": ".webp"}
"""Other targets of `convert`, with the suffixes of their files. Some hosts do not load the last two, images that carry
the vectors in their metadata and in their pixels."""
