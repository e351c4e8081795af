"""The demo checkpoint's file: small, half precision, whole, and with all that a host needs beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import CLIPTokenizer

from train_embedding.demo import drawing
from train_embedding.demo.maker.unet import TEXT_CONFIG
from train_embedding.demo.run import export_checkpoint
from train_embedding.demo.sets import SETS
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import encode_dataset
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.loading.ldm import read_config
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.tokenizer import FOLDER
from train_embedding.engine.sampling import _to_image
from train_embedding.errors import StorageFailed
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

CLIP = DEMO_CHECKPOINT.parent / "clip"


def test_size_and_layout() -> None:
    assert DEMO_CHECKPOINT.stat().st_size < 20e6
    with safe_open(DEMO_CHECKPOINT, "pt") as file:
        keys = list(file.keys())
        assert {file.get_slice(key).get_dtype() for key in keys} == {"F16"}
    prefixes = {key.split(".")[0] for key in keys}
    assert prefixes == {"model", "first_stage_model", "cond_stage_model"}
    assert "model.diffusion_model.input_blocks.0.0.weight" in keys


def test_the_text_encoder_folder_holds_its_config() -> None:
    config = json.loads((CLIP / "config.json").read_text())
    assert {name: config[name] for name in TEXT_CONFIG} == TEXT_CONFIG
    params = read_config(DEMO_CHECKPOINT.with_suffix(".yaml"))
    assert params["cond_stage_config"]["params"]["version"] == str(CLIP.resolve())


@pytest.mark.parametrize("name", ["", "with space", "naïve 剣"])
def test_exporting_it_to_a_webui(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "models"
    exported = export_checkpoint(folder)
    assert exported == folder.resolve() / "demo.safetensors"
    assert exported.read_bytes() == DEMO_CHECKPOINT.read_bytes()
    version = Path(read_config(exported.with_suffix(".yaml"))["cond_stage_config"]["params"]["version"])
    assert version.is_absolute()
    assert (version / "config.json").read_bytes() == (CLIP / "config.json").read_bytes()
    assert all((version / file.name).read_bytes() == file.read_bytes() for file in FOLDER.iterdir())
    assert CLIPTokenizer.from_pretrained(version, local_files_only=True)("a cat")["input_ids"] == [49406, 320, 2368, 49407]
    assert load_checkpoint(export_checkpoint(folder)).resolution == 64  # also over what is there


def test_exporting_to_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="Cannot copy the demo checkpoint"):
        export_checkpoint(tmp_path / "file" / "models")


def latents_of(model: DiffusionModel, folder: Path) -> torch.Tensor:
    images, _skipped = scan_folder(folder, ImageOptions(((64, 64),)))
    return torch.stack([one.moments.mean for one in encode_dataset(model, images)[0]])


@pytest.mark.checkpoint
def test_the_vae_keeps_hue_and_pattern() -> None:
    """What the concepts are measured by is still there in the reconstructions of images that show them."""
    model = load_checkpoint(DEMO_CHECKPOINT)
    for name, most in (("lime", 0.05), ("checker", 0.6), ("arch", 0.3)):
        decoded = model.decode_latents(latents_of(model, SETS[name].training_folder))
        assert max(SETS[name].distance(_to_image(pixels)) for pixels in decoded) < most


@pytest.mark.checkpoint
def test_latents_are_centred_and_scaled() -> None:
    model = load_checkpoint(DEMO_CHECKPOINT)
    folders = [one.training_folder for one in SETS.values()]
    latents = torch.cat([latents_of(model, folder) for folder in folders])
    assert latents.mean().abs() < 0.3
    assert 0.7 < float(latents.std()) < 1.3
    assert model.resolution == drawing.SIZE
