"""An embedding: a name, vectors per text encoder, and metadata about their origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.text_encoders import KEYS, OPENCLIP_BIGG, Family, family_of
from train_embedding.errors import InvalidInput
from train_embedding.messages import joined, msg

if TYPE_CHECKING:
    import torch

MAX_ELEMENTS = 4 * 2**20
"Numbers per text encoder: 16 MiB in fp32, 40 times a full prompt. A tiny file can claim more by repeating one number."

MAX_COUNT = 1000
"Vectors; 13 times a full prompt."

_SHOWN_DIMENSIONS = 8
_MODEL_KEYS = ("modelspec.architecture", "ss_base_model_version")
"Metadata keys in which kohya's trainer, OneTrainer and others name the model type."


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors with a name. The tensors are converted copies: fp32 on the CPU.

    Raises:
        InvalidInput: There are no vectors, text encoders have different numbers of them, or a value is NaN or infinite.
    """

    name: str
    "The trigger word: the stem of the file."
    vectors: dict[str, torch.Tensor]
    '[n, d] by text encoder, with the same n for all, in the order of KEYS ("clip_l", "clip_h", "clip_g").'
    step: int | None = None
    "Optimizer steps that it was trained for; None or 0 if it was not trained."
    checkpoint_name: str | None = None
    "Name of the checkpoint it was trained on."
    checkpoint_hash: str | None = None
    "Short hash of that checkpoint."
    format: FormatName | Literal[""] = ""
    "Format of the file that it was read from; empty if it was not read from a file."
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    "Further metadata of its file, as short texts; preserved when it is written, if the format can hold them."

    def __post_init__(self) -> None:
        if not self.vectors:
            raise InvalidInput(msg('The embedding "{name}" has no vectors.', name=self.name))
        checked = {key: _checked(self.name, key, vectors) for key, vectors in self.vectors.items()}
        # Some files have them in another order.
        object.__setattr__(self, "vectors", {key: checked[key] for key in KEYS if key in checked})
        object.__setattr__(self, "metadata", dict(self.metadata))
        counts = {key: len(vectors) for key, vectors in self.vectors.items()}
        if len(set(counts.values())) > 1:
            listing = joined(msg("{count} for {encoder}", count=count, encoder=key) for key, count in counts.items())
            raise InvalidInput(
                msg('The embedding "{name}" has different numbers of vectors: {counts}.', name=self.name, counts=listing)
            )

    @property
    def count(self) -> int:
        """Number of vectors, which is also the number of prompt tokens that it uses."""
        return len(next(iter(self.vectors.values())))

    @property
    def widths(self) -> dict[str, int]:
        """Width of a vector per text encoder."""
        return {key: vectors.shape[1] for key, vectors in self.vectors.items()}

    @property
    def family(self) -> Family:
        """The model family that it was made for."""
        if self.widths == {"clip_g": OPENCLIP_BIGG}:  # only the second text encoder
            return "SDXL"
        family = family_of(self.widths)
        return "SDXL" if family == "SD1" and any(_says_sdxl(self.metadata.get(key, "")) for key in _MODEL_KEYS) else family


def _says_sdxl(model: str) -> bool:
    return model.lower().startswith(("sdxl", "stable-diffusion-xl"))


def _checked(name: str, key: str, vectors: torch.Tensor) -> torch.Tensor:
    import torch

    if key not in KEYS:
        raise InvalidInput(
            msg('The embedding "{name}" has vectors for "{encoder}"; known text encoders are {known}.',
                name=name, encoder=key, known=joined(KEYS))
        )  # fmt: skip
    dense = vectors.layout == torch.strided and vectors.device.type != "meta" and vectors.is_floating_point()
    if not dense or vectors.ndim != 2 or 0 in vectors.shape:
        shape = [*vectors.shape][:_SHOWN_DIMENSIONS]
        raise InvalidInput(
            msg('The vectors of "{name}" are not a 2-D floating-point tensor (shape {shape}, {dtype}).',
                name=name, shape=shape, dtype=vectors.dtype)
        )  # fmt: skip
    if len(vectors) > MAX_COUNT:
        raise InvalidInput(
            msg('"{name}" has {count} vectors; at most {limit} are allowed.', name=name, count=len(vectors), limit=MAX_COUNT)
        )
    if vectors.numel() > MAX_ELEMENTS:
        raise InvalidInput(
            msg('"{name}" has {count} vectors of width {width}, which is too large.',
                name=name, count=len(vectors), width=vectors.shape[1])
        )  # fmt: skip
    copied = vectors.detach().to("cpu", torch.float32, copy=True).contiguous()
    if not torch.isfinite(copied).all():
        raise InvalidInput(msg('The vectors of "{name}" contain NaN or infinity.', name=name))
    return copied
