"""What a checkpoint's file tells before Forge has loaded it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from train_embedding.hosts.base import OTHER_FAMILY
from train_embedding.hosts.forge.checkpoint_file import facts_of_file, quantised_as

LAYER = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def info(path: Path) -> Any:
    return SimpleNamespace(filename=str(path), model_name=path.stem, shorthash=None)


@pytest.mark.parametrize(
    ("width", "widths", "resolution"),
    [
        (768, {"clip_l": 768}, 512),
        (1024, {"clip_h": 1024}, 768),
        (2048, {"clip_l": 768, "clip_g": 1280}, 1024),
    ],
)
def test_widths_and_resolution_follow_from_one_layer(tmp_path: Path, width: int, widths: Any, resolution: int) -> None:
    file = tmp_path / "a.safetensors"
    save_file({LAYER: torch.zeros(3, width)}, file)
    facts = facts_of_file(info(file))
    assert facts == {
        "checkpoint_name": "a",
        "checkpoint_hash": "",
        "widths": widths,
        "resolution": resolution,
    }


def test_another_file_has_a_name_alone(tmp_path: Path) -> None:
    other, damaged = tmp_path / "a.ckpt", tmp_path / "b.safetensors"
    damaged.write_bytes(b"\x08\0\0\0\0\0\0\0{no json")
    for file in (other, damaged, tmp_path / "none.safetensors"):
        assert facts_of_file(info(file)) == {"checkpoint_name": file.stem, "checkpoint_hash": ""}


@pytest.mark.parametrize("key", ["double_blocks.0.img_mod.lin.weight", "model.diffusion_model.joint_blocks.0.x_block.bias"])
def test_flux_and_sd3_cannot_be_trained_on(tmp_path: Path, key: str) -> None:
    file = tmp_path / "a.safetensors"
    save_file({key: torch.zeros(1)}, file)
    facts = facts_of_file(info(file))
    assert facts["why_no_training"] == OTHER_FAMILY
    assert "widths" not in facts


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    import os

    file = tmp_path / "a.safetensors"
    save_file({LAYER: torch.zeros(3, 768)}, file)
    assert facts_of_file(info(file))["widths"] == {"clip_l": 768}
    save_file({LAYER: torch.zeros(3, 2048)}, file)
    os.utime(file, (1, 1))
    assert facts_of_file(info(file))["widths"] == {"clip_l": 768, "clip_g": 1280}


def test_what_a_file_is_quantised_as(tmp_path: Path) -> None:
    four_bits, plain = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file({LAYER: torch.zeros(1), f"{LAYER}.quant_state.bitsandbytes__nf4": torch.zeros(1)}, four_bits)
    save_file({LAYER: torch.zeros(1).to(torch.float8_e4m3fn)}, plain)
    assert quantised_as(four_bits) == "bitsandbytes"
    assert quantised_as(plain) == ""
    assert quantised_as(tmp_path / "c.gguf") == "gguf"
