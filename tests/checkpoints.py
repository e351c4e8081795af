"""Small models of a checkpoint's true structure with random weights, for every room that needs one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from train_embedding.demo.maker.checkpoint import write_checkpoint
from train_embedding.demo.maker.ldm_layout import ldm_state
from train_embedding.demo.maker.unet import LAYERS, TEXT_CONFIG, new_text_encoder, new_unet
from train_embedding.demo.maker.vae import new_vae
from train_embedding.engine.loading import ldm
from train_embedding.engine.model.diffusion_model import DiffusionModel

CONFIG = Path(ldm.__file__).parents[2] / "demo" / "maker" / "demo.yaml"
WIDTH = TEXT_CONFIG["hidden_size"]


@dataclass(frozen=True)
class Source:
    """The networks as diffusers and transformers make them, with random weights that fp16 can hold exactly."""

    unet: Any
    vae: Any
    text_encoder: Any

    def ldm_state(self) -> dict[str, torch.Tensor]:
        """The very tensors of the networks under the keys of a checkpoint."""
        return ldm_state(self.unet.state_dict(), self.vae.state_dict(), self.text_encoder.state_dict(), LAYERS)


def params() -> dict[str, Any]:
    return ldm.read_config(CONFIG)


@cache
def source() -> Source:
    """Not to be changed: everything in this process shares it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20261122)
        made = Source(new_unet(), new_vae(), new_text_encoder())
        for module in (made.unet, made.vae, made.text_encoder):
            module.eval().requires_grad_(False)
            for parameter in module.parameters():  # new networks have zeros where a wrong weight would not be noticed
                parameter += 0.05 * torch.randn_like(parameter) * parameter.std(correction=0).clamp(min=0.2)
                parameter.copy_(parameter.half())
    return made


@cache
def model() -> DiffusionModel:
    """A model over the source's weights. Not to be changed."""
    return ldm.build_model(source().ldm_state(), params(), text_config=TEXT_CONFIG)


class Part(nn.Module):
    """A module with nothing but parameters and further parts."""


def module_of(state: Mapping[str, torch.Tensor], name: Callable[[str], str] = str) -> nn.Module:
    """A module whose parameters are the tensors of `state`, under their keys or what `name` makes of these."""
    root = Part()
    for key, tensor in state.items():
        *path, last = name(key).split(".")
        part = root
        for step in path:
            if not hasattr(part, step):
                part.add_module(step, Part())
            part = getattr(part, step)
        part.register_parameter(last, nn.Parameter(tensor, requires_grad=tensor.is_floating_point()))
    return root


@pytest.fixture(scope="session")
def tiny_source() -> Source:
    return source()


@pytest.fixture(scope="session")
def tiny_model() -> DiffusionModel:
    return model()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source as one file with its config beside it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    made = source()
    write_checkpoint(folder, made.unet, made.vae, made.text_encoder)
    return folder / "demo.safetensors"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures that differ."""
    return save_pictures(tmp_path / "pictures")


def save_pictures(folder: Path) -> Path:
    """Make `folder`, and save three pictures that differ in it."""
    folder.mkdir()
    for name, colour in (("1 red.png", (220, 30, 40)), ("2 green.png", (20, 200, 60)), ("3 blue.png", (30, 60, 210))):
        picture = Image.new("RGB", (64, 64), colour)
        picture.paste((240, 240, 240), (8, 8, 8 + 10 * int(name[0]), 40))
        picture.save(folder / name)
    return folder
