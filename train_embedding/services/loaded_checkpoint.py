"""Checks of embeddings against the loaded checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from train_embedding.embeddings.text_encoders import does_not_fit
from train_embedding.errors import Conflict, HostFailed
from train_embedding.hosts.base import HostInfo
from train_embedding.messages import msg

NO_CHECKPOINT = msg("No checkpoint is loaded.")
LOAD_ONE = msg("Load a checkpoint first.")
LOAD_MATCHING = msg("Load a checkpoint of the same model family as the embedding.")


def loaded_widths(info: HostInfo) -> dict[str, int]:
    """Return the widths of the loaded checkpoint's text encoders.

    Raises:
        HostFailed: No checkpoint is loaded, or one of another family, such as Flux.
    """
    if not info.widths and info.why_no_training:
        raise HostFailed(info.why_no_training)
    if not info.widths:
        raise HostFailed(NO_CHECKPOINT, LOAD_ONE)
    return info.widths


def check_fits(name: str, widths: Mapping[str, int], info: HostInfo) -> None:
    """Check that an embedding can be used with the loaded checkpoint.

    Args:
        name: The embedding.
        widths: Widths of its vectors, per text encoder.
        info: The host.

    Raises:
        HostFailed: As `loaded_widths`.
        Conflict: The embedding is for another model family.
    """
    loaded = loaded_widths(info)
    if widths != loaded:
        raise Conflict(does_not_fit(name, widths, loaded), LOAD_MATCHING)
