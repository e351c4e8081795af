"""Modules of diffusers and transformers, as SD.Next has them, shared into a DiffusionModel."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.checkpoints import WIDTH, model, source
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.shared_modules import VOCABULARY, model_from_modules, vocabulary_of
from train_embedding.engine.model.diffusion_model import TextEncoder
from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces
from train_embedding.errors import HostFailed


def encoder_of(module: Any) -> TextEncoder:
    return TextEncoder("clip_l", module)


def shared(unet: Any = None, text_encoder: Any = None) -> Any:
    modules = source()
    encoder = encoder_of(text_encoder or modules.text_encoder)
    return model_from_modules(unet or modules.unet, modules.vae, (encoder,), model().alphas_cumprod, "epsilon")


def prediction(made: Any) -> torch.Tensor:
    table = {"clip_l": torch.ones(1, WIDTH)}
    prompts = batch_prompts([tokenize_pieces(["a ", VectorRows(0, 1), " by monet"])])
    noisy = torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8)
    with torch.no_grad():
        return made.predict(noisy, torch.tensor([500]), made.encode_prompts(prompts, table))


def test_every_parameter_is_the_hosts() -> None:
    made, modules = shared(), source()
    for mine, theirs in zip(made.modules(), (modules.unet, modules.vae, modules.text_encoder), strict=True):
        same, count = count_shared_parameters(mine, theirs.state_dict())
        assert same == count > 0
    assert torch.equal(prediction(made), prediction(model()))


def test_the_hosts_modules_are_not_changed() -> None:
    unet = copy.deepcopy(source().unet)
    kinds = [type(layer) for layer in unet.modules()]
    shared(unet)
    assert [type(layer) for layer in unet.modules()] == kinds, "frozen layers are those of the shared model alone"


def test_hooks_and_patches_of_the_host_play_no_part() -> None:
    unet = copy.deepcopy(source().unet)
    unet.forward = lambda *_, **__: pytest.fail("the host's own forward pass was used")
    unet.register_forward_pre_hook(lambda *_: pytest.fail("a hook of the host was used"))
    assert torch.equal(prediction(shared(unet)), prediction(model()))


def test_rows_of_loaded_embeddings_are_left_out() -> None:
    text_encoder = copy.deepcopy(source().text_encoder)
    plain = vocabulary_of(text_encoder)
    text_encoder.resize_token_embeddings(VOCABULARY + 3)
    extended = text_encoder.get_input_embeddings().weight
    assert len(extended) == VOCABULARY + 3
    assert torch.equal(vocabulary_of(text_encoder), plain)
    made = shared(text_encoder=text_encoder)
    table = made.text_encoders[0].token_embedding.weight
    assert table.shape == (VOCABULARY, WIDTH)
    assert table.untyped_storage().data_ptr() == extended.untyped_storage().data_ptr()
    assert torch.equal(prediction(made), prediction(model()))


def test_weights_that_are_not_in_memory_are_reported() -> None:
    unet = copy.deepcopy(source().unet)
    unet.conv_out.to("meta")
    with pytest.raises(HostFailed, match="not in memory"):
        shared(unet)


def test_the_padding_of_an_encoder_is_kept() -> None:
    modules = source()
    encoder = replace(encoder_of(modules.text_encoder), padding=0, layer=2)
    made = model_from_modules(modules.unet, modules.vae, (encoder,), model().alphas_cumprod, "v_prediction")
    assert (made.text_encoders[0].padding, made.text_encoders[0].layer, made.prediction_type) == (0, 2, "v_prediction")
