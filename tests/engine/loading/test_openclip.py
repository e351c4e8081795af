"""OpenCLIP's weights under transformers' names: nothing is copied, nothing is lost. (test_families.py has the outputs.)"""

from __future__ import annotations

import torch

from tests.families import OPENCLIP_LAYERS, OPENCLIP_WIDTH, POOLED, OpenClip, randomised
from train_embedding.engine.loading.openclip import openclip_config, openclip_weights


def state() -> dict[str, torch.Tensor]:
    tower = randomised(OpenClip(OPENCLIP_WIDTH, OPENCLIP_LAYERS, POOLED))
    return {f"a.prefix.{key}": tensor for key, tensor in tower.state_dict().items()} | {"another.ln_final.weight": torch.ones(1)}


def test_every_tensor_is_a_view() -> None:
    given = state()
    storages = {tensor.untyped_storage().data_ptr() for tensor in given.values()}
    weights = openclip_weights(given, "a.prefix.", projection=True)
    assert {tensor.untyped_storage().data_ptr() for tensor in weights.values()} <= storages
    kept = [tensor for key, tensor in given.items() if key.startswith("a.prefix.") and not key.endswith("logit_scale")]
    assert sum(tensor.numel() for tensor in weights.values()) == sum(tensor.numel() for tensor in kept)


def test_the_joint_projection_is_split_in_order() -> None:
    given = state()
    weights = openclip_weights(given, "a.prefix.", projection=False)
    for kind in ("weight", "bias"):
        joint = given[f"a.prefix.transformer.resblocks.1.attn.in_proj_{kind}"]
        split = [weights[f"text_model.encoder.layers.1.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
        assert torch.equal(torch.cat(split), joint)


def test_the_projection_is_turned_and_only_given_where_it_is_wanted() -> None:
    given = state()
    turned = openclip_weights(given, "a.prefix.", projection=True)["text_projection.weight"]
    assert torch.equal(turned, given["a.prefix.text_projection"].T)
    assert "text_projection.weight" not in openclip_weights(given, "a.prefix.", projection=False)


def test_the_config_follows_from_the_weights() -> None:
    config = openclip_config(openclip_weights(state(), "a.prefix.", projection=True))
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]) == (128, 3, 2)
    assert (config["intermediate_size"], config["projection_dim"], config["max_position_embeddings"]) == (512, 96, 77)
    assert (config["vocab_size"], config["hidden_act"]) == (49408, "gelu")


def test_transformers_own_names_are_taken_as_they_are() -> None:
    named = {f"a.prefix.{key}": tensor for key, tensor in openclip_weights(state(), "a.prefix.", projection=True).items()}
    mixed = {**state(), **named}
    for projection in (True, False):
        weights = openclip_weights(mixed, "a.prefix.", projection=projection)
        assert weights.keys() == openclip_weights(state(), "a.prefix.", projection=projection).keys()
        assert all(weights[key] is named[f"a.prefix.{key}"] for key in weights)
