"""Which layer of which text encoder a family reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import families
from train_embedding.engine.loading.ldm_text_encoders import build_text_encoders, text_config_folder
from train_embedding.engine.model.diffusion_model import TextEncoder
from train_embedding.errors import HostFailed


def encoders(base: str, clip_skip: int | None = None, **changes: Any) -> list[TextEncoder]:
    """Of a family whose first text encoder's part of the config has these values."""
    source = families.family(base)
    params = source.params()
    text_config_folder(params).update(changes)
    return list(build_text_encoders(source.state(), params, source.text_config, clip_skip))


def read(encoder: TextEncoder) -> tuple[int, bool, int, bool]:
    return encoder.layer, encoder.normalised, encoder.padding, encoder.pools


def test_what_each_family_reads() -> None:
    assert [read(encoder) for encoder in encoders("SD1")] == [(1, True, 49407, False)]
    assert [read(encoder) for encoder in encoders("SD2")] == [(2, True, 0, False)]
    assert [read(encoder) for encoder in encoders("SDXL")] == [(2, False, 49407, False), (2, False, 0, True)]


@pytest.mark.parametrize(
    ("base", "clip_skip", "layer", "normalised"),
    [("SD1", 2, 2, True), ("SD2", 3, 2, True), ("SDXL", 1, 1, False), ("SDXL", 3, 3, False)],
)
def test_clip_skip_is_for_clip_alone(base: str, clip_skip: int, layer: int, normalised: bool) -> None:
    first, *others = encoders(base, clip_skip)
    assert (first.layer, first.normalised) == (layer, normalised)
    assert [encoder.layer for encoder in others] == [2] * len(others)


def test_layers_from_the_config() -> None:
    assert encoders("SD2", layer="last")[0].layer == 1
    assert read(encoders("SDXL", layer="last")[0])[:2] == (1, True)
    assert read(encoders("SDXL", layer="hidden", layer_idx=1)[0])[:2] == (3, False)  # of 3 layers and what goes into the first
    assert read(encoders("SDXL", layer="hidden", layer_idx=-2)[0])[:2] == (2, False)


def test_the_refiner() -> None:
    state = {"conditioner.embedders.0.model.ln_final.weight": torch.ones(4)}
    with pytest.raises(HostFailed, match="refiner"):
        build_text_encoders(state, {}, None, None)


def test_ids_are_padded_after_the_first_end_of_text() -> None:
    encoder = encoders("SDXL")[1]
    ids = torch.tensor([[[49406, 5, 49407, 49407, 49407], [49406, 0, 7, 8, 49407], [49406, 49407, 9, 49407, 3]]])
    assert encoder._padded(ids).tolist() == [[[49406, 5, 49407, 0, 0], [49406, 0, 7, 8, 49407], [49406, 49407, 0, 0, 0]]]
    first = encoders("SDXL")[0]
    assert first._padded(ids) is ids
