"""DiffusionModel: everything frozen, contexts as CLIP gives them, clip skip, token embeddings."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from tests.checkpoints import Source
from tests.torch_releases import NEEDS_FP16
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.prompts.tokenizer import clip_tokenizer, token_ids

TEXT = "a big red star"


def context_of(model: DiffusionModel, prompts: PromptBatch) -> torch.Tensor:
    return model.encode_prompts(prompts, empty_vector_tables(model)).context


def test_everything_is_frozen(tiny_model: DiffusionModel) -> None:
    for module in tiny_model.modules():
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert not any(part.training for part in module.modules())


@torch.no_grad()
def test_a_plain_context_is_that_of_the_text_encoder(tiny_model: DiffusionModel, tiny_source: Source) -> None:
    context = context_of(tiny_model, batch_prompts([tokenize_pieces([TEXT])]))
    ids = clip_tokenizer()(TEXT, padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
    assert torch.equal(context, tiny_source.text_encoder(ids).last_hidden_state)


@torch.no_grad()
def test_chunks_stand_one_after_the_other(tiny_model: DiffusionModel) -> None:
    long = batch_prompts([tokenize_pieces(["the " * 75 + TEXT])])
    context = context_of(tiny_model, long)
    second = context_of(tiny_model, batch_prompts([tokenize_pieces([TEXT])]))
    assert context.shape == (1, 154, 64)
    assert torch.allclose(context[:, 77:], second, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip(tiny_model: DiffusionModel, tiny_source: Source, clip_skip: int) -> None:
    prompts = batch_prompts([tokenize_pieces([TEXT])])
    encoder = replace(tiny_model.text_encoders[0], layer=clip_skip)
    context = context_of(replace(tiny_model, text_encoders=(encoder,)), prompts)
    output = tiny_source.text_encoder(prompts.ids[:, 0], output_hidden_states=True)
    body = getattr(tiny_source.text_encoder, "text_model", tiny_source.text_encoder)
    assert torch.equal(context, body.final_layer_norm(output.hidden_states[-clip_skip]))


@torch.no_grad()
def test_vectors_equal_to_tokens_are_the_text(tiny_model: DiffusionModel) -> None:
    vectors = tiny_model.token_embeddings("red star")
    assert vectors["clip_l"].shape == (2, 64)
    packed = batch_prompts([tokenize_pieces(["a big", VectorRows(0, 2)])])
    plain = batch_prompts([tokenize_pieces([TEXT])])
    assert torch.equal(tiny_model.encode_prompts(packed, vectors).context, context_of(tiny_model, plain))
    assert tiny_model.encode_prompts(packed, vectors).pooled is None


def test_token_embeddings(tiny_model: DiffusionModel, tiny_source: Source) -> None:
    weight = tiny_source.text_encoder.get_input_embeddings().weight
    ids = token_ids(TEXT)
    assert torch.equal(tiny_model.token_embeddings(TEXT)["clip_l"], weight[ids])
    assert torch.equal(tiny_model.token_embeddings(TEXT, 2)["clip_l"], weight[ids[:2]])
    assert tiny_model.token_embeddings("")["clip_l"].shape == (0, 64)
    copied = tiny_model.token_embeddings(TEXT)["clip_l"]
    copied += 1
    assert torch.equal(tiny_model.token_embeddings(TEXT)["clip_l"], weight[ids])


def test_latents_are_scaled_both_ways(tiny_model: DiffusionModel) -> None:
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    once, other = tiny_model, replace(tiny_model, latent_scale=1.0)
    assert torch.allclose(once.encode_images(images).mean, other.encode_images(images).mean * 0.18215, atol=1e-6)
    assert torch.allclose(once.encode_images(images).std, other.encode_images(images).std * 0.18215, atol=1e-6)
    latents = torch.randn(1, 4, 8, 8)
    assert torch.allclose(once.decode_latents(latents * 0.18215), other.decode_latents(latents), atol=1e-5)


@NEEDS_FP16
def test_a_vae_that_overflows_in_half_precision_is_asked_again(tiny_model: DiffusionModel) -> None:
    half = deepcopy(tiny_model.vae)
    half.encoder.conv_in.weight.mul_(6e4 / float(half.encoder.conv_in.weight.abs().max()))
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    expected = replace(tiny_model, vae=half).encode_images(images)
    half.half()
    with torch.no_grad():
        assert not bool(torch.isfinite(half.encode(images.half()).latent_dist.mean).all())
    again = replace(tiny_model, vae=half).encode_images(images)
    assert torch.allclose(again.mean, expected.mean, atol=0.02)
    assert next(half.parameters()).dtype == torch.float16
