"""Limits on the memory and time that decoding an image may take.

Every image may come from an untrusted source. The limits differ by use:

* Images with embeddings (`EMBEDDING`) are decoded automatically when the library lists a folder. They are small, since the
  vectors are.
* Previews (`PREVIEW`) are decoded when you upload or view them. They may be photographs, so more pixels are allowed within the
  same memory limit.
* Training images (`TRAINING_PIXELS`) may be large photographs and scans. You start the run on a machine that holds a diffusion
  model, so up to about 1 GB is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

from train_embedding.images.kinds import KINDS

MEMORY, SECONDS = 256 * 2**20, 2.0
"Limits for embeddings and previews: bytes, and seconds of CPU time."


@dataclass(frozen=True)
class Limits:
    """Limits for decoding one image."""

    max_pixels: int
    memory: int = MEMORY
    "Bytes, including the file itself."
    seconds: float = SECONDS
    "CPU time."


EMBEDDING = Limits(6 * 2**20)
"2048 × 2048 pixels, and space for the vectors beside them."
EMBEDDING_SIDE = 2**14
"Maximum width and height in pixels. An image 256 pixels high with 4 MB of data is 11,000 pixels wide."

PREVIEW_BYTES = 16 * 2**20
PREVIEW: dict[str, Limits] = {
    **dict.fromkeys(("PNG", "JPEG", "GIF"), Limits(16 * 2**20)),
    "WEBP": Limits(12 * 2**20),
}
"""4096 × 4096 pixels, or 4096 × 3072 for WebP. Pillow uses up to 16 bytes per pixel for WebP, 12 for progressive CMYK JPEGs and 8
for PNG; together with the file, this is below MEMORY."""

TRAINING_PIXELS: dict[str, int] = {
    **dict.fromkeys(KINDS, 128_000_000),
    **dict.fromkeys(("WEBP", "AVIF", "HEIF"), 40_000_000),
    **dict.fromkeys(("JPEG2000", "JXL"), 30_000_000),
}
"Maximum number of pixels by kind; decoding that many takes about 1 GB."
TRAINING_ISOLATED: dict[str, Limits] = {"WEBP": Limits(TRAINING_PIXELS["WEBP"], 2**30, 60.0), "ICO": Limits(2**20)}
"""Kinds of training images that are decoded in a separate process: WebP if `webp_is_safe` returns False, and icons, which may
contain a PNG of any size."""

THUMBNAIL_BYTES = 192 * 2**20
"Largest file of a training image of which a thumbnail is made."
THUMBNAIL: dict[str, Limits] = {kind: Limits(pixels, 2**30, 20.0) for kind, pixels in TRAINING_PIXELS.items()}
"Thumbnails of training images, which may be as large as training reads them."
