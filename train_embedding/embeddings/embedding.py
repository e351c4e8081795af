"""An embedding: learned vectors that stand for one word, per text encoder, with where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.text_encoders import KEYS, OPENCLIP_BIGG, Family, family_of
from train_embedding.errors import InvalidInput

if TYPE_CHECKING:
    import torch

MAX_ELEMENTS = 4 * 2**20
"Numbers per text encoder: 16 MiB in fp32, forty times what fills a prompt. A few bytes can claim more by repeating one number."

MAX_COUNT = 1000
"Thirteen times what a prompt takes at once."

_SHOWN_DIMENSIONS = 8
_MODEL_KEYS = ("modelspec.architecture", "ss_base_model_version")
"Where kohya's trainer, OneTrainer and others name the kind of model that they trained on."


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors under a name. The tensors are copies, fp32 on the CPU, whatever they were made from.

    Raises InvalidInput unless there is at least one vector, each text encoder has as many, and every number is finite.
    """

    name: str
    "The trigger: the stem of its file."
    vectors: dict[str, torch.Tensor]
    'Per text encoder, in the order of KEYS ("clip_l", "clip_h", "clip_g"): [n, d], the same n for all.'
    step: int | None = None
    "Optimizer steps it was trained for in all; None or 0 where it was not."
    checkpoint_name: str | None = None
    "Name of the checkpoint that it was trained on."
    checkpoint_hash: str | None = None
    "Short hash of that checkpoint."
    format: FormatName | Literal[""] = ""
    "Name of the format it was read from; empty for one that comes from no file."
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    "What its file says about itself besides the fields above: short texts. Written back where the format can hold them."

    def __post_init__(self) -> None:
        if not self.vectors:
            raise InvalidInput(f'The embedding "{self.name}" has no vectors.')
        checked = {key: _checked(self.name, key, vectors) for key, vectors in self.vectors.items()}
        # Some files come in any order.
        object.__setattr__(self, "vectors", {key: checked[key] for key in KEYS if key in checked})
        object.__setattr__(self, "metadata", dict(self.metadata))
        counts = {key: len(vectors) for key, vectors in self.vectors.items()}
        if len(set(counts.values())) > 1:
            listing = " and ".join(f"{count} for {key}" for key, count in counts.items())
            raise InvalidInput(f'The embedding "{self.name}" has different numbers of vectors: {listing}.')

    @property
    def count(self) -> int:
        """The number of vectors, which is the number of tokens it takes in a prompt."""
        return len(next(iter(self.vectors.values())))

    @property
    def widths(self) -> dict[str, int]:
        """Width of a vector per text encoder."""
        return {key: vectors.shape[1] for key, vectors in self.vectors.items()}

    @property
    def family(self) -> Family:
        """The model family it is for: "SD1", "SD2", "SDXL" or "custom"."""
        if self.widths == {"clip_g": OPENCLIP_BIGG}:  # its second text encoder alone
            return "SDXL"
        family = family_of(self.widths)
        return "SDXL" if family == "SD1" and any(_says_sdxl(self.metadata.get(key, "")) for key in _MODEL_KEYS) else family


def _says_sdxl(model: str) -> bool:
    return model.lower().startswith(("sdxl", "stable-diffusion-xl"))


def _checked(name: str, key: str, vectors: torch.Tensor) -> torch.Tensor:
    import torch

    if key not in KEYS:
        raise InvalidInput(f'The embedding "{name}" has vectors for "{key}"; known text encoders are {", ".join(KEYS)}.')
    plain = vectors.layout == torch.strided and vectors.device.type != "meta" and vectors.is_floating_point()
    if not plain or vectors.ndim != 2 or 0 in vectors.shape:
        shape = [*vectors.shape][:_SHOWN_DIMENSIONS]
        raise InvalidInput(f'The vectors of "{name}" are no table of real numbers (shape {shape}, {vectors.dtype}).')
    if len(vectors) > MAX_COUNT:
        raise InvalidInput(f'"{name}" claims {len(vectors)} vectors; an embedding has at most {MAX_COUNT}.')
    if vectors.numel() > MAX_ELEMENTS:
        raise InvalidInput(f'"{name}" claims {len(vectors)} vectors of width {vectors.shape[1]}, which is too many.')
    copied = vectors.detach().to("cpu", torch.float32, copy=True).contiguous()
    if not torch.isfinite(copied).all():
        raise InvalidInput(f'The vectors of "{name}" hold NaN or infinity.')
    return copied
