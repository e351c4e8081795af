"""How much memory and time the images of each use may take.

Every image may come from anybody, so each has limits; they differ because the uses do:

* Images that carry embeddings (`EMBEDDING`) are decoded unasked: all new ones in a folder, whenever the library is listed. They
  are small, because the vectors are.
* Previews (`PREVIEW`) are decoded one by one when a person sends them or looks at them. Photographs are usual, so they may be
  larger, as far as the memory allows that an embedding gets.
* Training images (`TRAINING_PIXELS`) are what a run is about, and large photographs and scans are usual. A person starts the
  run on a machine that holds a diffusion model, so up to 1 GB is affordable.
"""

from __future__ import annotations

from dataclasses import dataclass

from train_embedding.images.kinds import KINDS

MEMORY, SECONDS = 256 * 2**20, 2.0
"What a file from anybody may take, be it an embedding or a preview: bytes, and seconds of the processor."


@dataclass(frozen=True)
class Limits:
    """What decoding one image may take: bytes, with the file itself among them, and seconds of the processor."""

    max_pixels: int
    memory: int = MEMORY
    seconds: float = SECONDS


EMBEDDING = Limits(6 * 2**20)
"2048 × 2048 pixels with room for the vectors next to them."
EMBEDDING_SIDE = 2**14
"Pixels of its width, and of its height: with 4 MB of values, an image of 256 rows is 11,000 pixels wide."

PREVIEW_BYTES = 16 * 2**20
PREVIEW: dict[str, Limits] = {
    **dict.fromkeys(("PNG", "JPEG", "GIF"), Limits(16 * 2**20)),
    "WEBP": Limits(12 * 2**20),
}
"""4096 × 4096 pixels, of WebP 4096 × 3072. Pillow takes up to 16 bytes per pixel for WebP, 12 for a progressive JPEG in CMYK, 8
for PNG; with the file itself, that stays below MEMORY."""

TRAINING_PIXELS: dict[str, int] = {
    **dict.fromkeys(KINDS, 128_000_000),
    **dict.fromkeys(("WEBP", "AVIF", "HEIF"), 40_000_000),
    **dict.fromkeys(("JPEG2000", "JXL"), 30_000_000),
}
"Decoding an image of so many takes at most about 1 GB."
TRAINING_ISOLATED: dict[str, Limits] = {"WEBP": Limits(TRAINING_PIXELS["WEBP"], 2**30, 60.0), "ICO": Limits(2**20)}
"""Kinds of training images that another process decodes: WebP where its decoder is one that a file can make write beyond its
memory, and icons, which may hold a PNG of any size."""
