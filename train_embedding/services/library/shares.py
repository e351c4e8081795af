"""Ways to share an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from train_embedding.messages import Message, msg

CIVITAI, CARD = "civitai", "card"


@dataclass(frozen=True)
class Share:
    """A way to share an embedding."""

    title: Message
    suffix: str


SHARES: Mapping[str, Share] = {
    CIVITAI: Share(msg("archive for Civitai"), ".zip"),
    CARD: Share(msg("share card"), ".png"),
}
"By the names that front ends use."
