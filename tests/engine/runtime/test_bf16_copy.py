"""The bf16 copy of a UNet on CPUs: where it is made, and what it shares and computes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from tests import checkpoints
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.prompts.splicing import batch_prompts, tokenize_pieces
from train_embedding.engine.runtime import bf16_copy
from train_embedding.engine.runtime.bf16_copy import with_bf16_unet
from train_embedding.engine.runtime.precision import compute_dtype


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with AMX, and models of any size."""
    monkeypatch.setattr(bf16_copy, "cpu_has_amx", lambda: True)
    monkeypatch.setattr(bf16_copy, "FEWEST_WEIGHTS", 0)


def gradient(model: DiffusionModel) -> torch.Tensor:
    """Of a squared prediction with respect to the encoded prompt."""
    torch.manual_seed(0)
    noisy = torch.randn(1, 4, 8, 8)
    prompts = batch_prompts([tokenize_pieces(["a red star"])])
    encoded = model.encode_prompts(prompts, empty_vector_tables(model))
    leaf = encoded.context.detach().requires_grad_()
    dtype = compute_dtype(model)
    conditioning = replace(encoded, context=leaf).to(dtype)
    predicted = model.predict(noisy.to(dtype), torch.tensor([500]), conditioning)
    return torch.autograd.grad(predicted.float().square().mean(), leaf)[0]


@pytest.mark.usefixtures("fast")
def test_only_the_unet_is_copied() -> None:
    model = checkpoints.model()
    before = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    copied = with_bf16_unet(model)
    assert {weight.dtype for weight in copied.unet.parameters()} == {torch.bfloat16}
    assert copied.vae is model.vae
    assert copied.text_encoders is model.text_encoders
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.unet.state_dict().items())
    assert not any(weight.requires_grad for weight in copied.unet.parameters())
    assert [type(layer) for layer in copied.unet.modules()] == [type(layer) for layer in model.unet.modules()]


@pytest.mark.usefixtures("fast")
def test_gradients_are_close_to_those_in_fp32() -> None:
    model = checkpoints.model()
    exact, rounded = gradient(model), gradient(with_bf16_unet(model))
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.05


def test_small_models_stay_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_copy, "cpu_has_amx", lambda: True)
    model = checkpoints.model()
    assert with_bf16_unet(model) is model


@pytest.mark.usefixtures("fast")
def test_without_amx_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_copy, "cpu_has_amx", lambda: False)
    model = checkpoints.model()
    assert with_bf16_unet(model) is model


@pytest.mark.usefixtures("fast")
def test_a_copy_needs_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = checkpoints.model()
    size = 2 * sum(weight.numel() for weight in model.unet.parameters())
    monkeypatch.setattr(bf16_copy, "main_memory", lambda: (2**40, bf16_copy.SPARE_MEMORY + size - 1))
    assert with_bf16_unet(model) is model
    for unknown_or_enough in (0, bf16_copy.SPARE_MEMORY + size):
        monkeypatch.setattr(bf16_copy, "main_memory", lambda free=unknown_or_enough: (2**40, free))
        assert with_bf16_unet(model) is not model


@pytest.mark.usefixtures("fast")
def test_networks_on_other_devices_and_in_other_dtypes_are_left_alone() -> None:
    half = replace(checkpoints.model(), unet=with_bf16_unet(checkpoints.model()).unet)
    assert with_bf16_unet(half) is half
    elsewhere = replace(checkpoints.model(), unet=copy.deepcopy(checkpoints.model().unet).to("meta"))
    assert with_bf16_unet(elsewhere) is elsewhere
