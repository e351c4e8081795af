"""The values a new embedding starts from, by the WebUI's rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def fill(tokens: torch.Tensor, count: int) -> torch.Tensor:
    """Spreads token embeddings [m, d] over [count, d], fp32: vector i takes token i*m//count; zeros where m is 0.

    The rule is that of `create_embedding` in the WebUI's modules/textual_inversion/textual_inversion.py.
    """
    import torch

    given = len(tokens)
    if given == 0:
        return torch.zeros(count, tokens.shape[1])
    return tokens[[i * given // count for i in range(count)]].detach().to("cpu", torch.float32)


def takes_whole_text(widths: Mapping[str, int]) -> bool:
    """Whether vectors of these widths are spread over all tokens of a text, which is SD2's rule in the WebUI.

    With SD1 the text is cut to its first n tokens for n vectors. So it is with SDXL, whose two encoders the WebUI cuts
    differently, which fails for the texts where it matters; a vector stands for the same word in both here.
    """
    return set(widths) == {"clip_h"}


def zeros(widths: Mapping[str, int], count: int) -> dict[str, torch.Tensor]:
    """Vectors of an embedding made from no text: [count, d] per text encoder."""
    import torch

    return {key: torch.zeros(count, width) for key, width in widths.items()}
