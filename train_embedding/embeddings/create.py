"""Initial vectors of a new embedding, by the WebUI's rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STARTS = ("tokens", "output", "embedding")
"""Sources of initial vectors: the token embeddings of the init text, as in the WebUI; the output of the text encoders for it
(Cross Initialization, Pang et al. 2024, arXiv 2312.15905); or an existing embedding, with its name as the init text."""


def fill(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Spread token embeddings evenly over a number of vectors: vector i is a copy of token i*m//count.

    This is the rule of `create_embedding` in the WebUI's modules/textual_inversion/textual_inversion.py.

    Args:
        tokens: Token embeddings, [m, d]; if there are none, the vectors are zeros.
        count: Number of vectors.

    Returns:
        [count, d], fp32 on the CPU.
    """
    import torch

    given = len(tokens)
    if given == 0:
        return torch.zeros(count, tokens.shape[1])
    return tokens[[i * given // count for i in range(count)]].detach().to("cpu", torch.float32)


def takes_whole_text(widths: Mapping[str, int]) -> bool:
    """Return whether vectors of these widths are spread over all tokens of a text, as the WebUI does for SD2.

    For SD1 the WebUI uses only the first n tokens for n vectors. SDXL is treated like SD1 here: the WebUI cuts the text
    differently for SDXL's two encoders and fails when the lengths differ, and the two vectors of a token belong together.
    """
    return set(widths) == {"clip_h"}


def zeros(widths: Mapping[str, int], count: int) -> dict[str, torch.Tensor]:
    """Return zero vectors, [count, d], by text encoder: an embedding without an init text."""
    import torch

    return {key: torch.zeros(count, width) for key, width in widths.items()}
