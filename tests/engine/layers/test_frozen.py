"""Frozen layers: the same outputs and the same gradients, for less that is kept."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.families import BASES, SOME_SLOW, family, model
from tests.torch_releases import NEEDS_FP16
from train_embedding.engine.layers.frozen import (
    FrozenConv2d,
    FrozenGEGLU,
    FrozenLayer,
    FrozenLinear,
    FrozenResnetBlock2D,
    freeze,
    original_layers,
)
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.profiling.memory import MemoryCounter
from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing


@dataclass
class Pass:
    """A forward and a backward of a UNet. results: the output, and the gradients of context and pooled output."""

    results: list[torch.Tensor]
    saved: int


def run(model: DiffusionModel, *, autocast: bool = False, side: int = 8) -> Pass:
    generator = torch.Generator().manual_seed(3)
    width = model.unet.config.cross_attention_dim
    pooled = torch.randn(2, 96, generator=generator) if model.unet.config.addition_embed_type else None
    leaves = Conditioning(torch.randn(2, 77, width, generator=generator), pooled).map(torch.Tensor.requires_grad_)
    noisy = torch.randn(2, 4, side, side, generator=generator).to(model.dtype)
    counter = MemoryCounter([model.unet])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), counter, counter.saving():
        given = leaves.map(lambda leaf: leaf.to(model.dtype) * 1)  # no leaf, of which autocast would keep a copy
        output = model.predict(noisy, torch.tensor([20, 500]), given)
    output.float().square().mean().backward()
    gradients = [leaf.grad for leaf in (leaves.context, leaves.pooled) if leaf is not None]
    return Pass([output.detach(), *gradients], counter.saved)


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_the_same_output_and_gradients(variant: str) -> None:
    frozen = run(model(variant))
    with original_layers(model(variant).unet):
        expected = run(model(variant))
    assert len(frozen.results) == (3 if variant.startswith("SDXL") else 2)
    for one, other in zip(frozen.results, expected.results, strict=True):
        assert float(other.abs().max()) > 0
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_as_exact_as_torchs_own_in_bf16(variant: str) -> None:
    """Some processors have several kernels for it, which round in different orders; so both are measured by fp32."""
    frozen = run(model(variant), autocast=True)
    with original_layers(model(variant).unet):
        exact, own = run(model(variant)), run(model(variant), autocast=True)
    for one, other, truth in zip(frozen.results, own.results, exact.results, strict=True):
        assert 0 < float((one - truth).norm()) < 1.1 * float((other - truth).norm())
        assert float((other - truth).norm()) < 0.1 * float(truth.norm())


@pytest.mark.parametrize("variant", ["SD1", *(pytest.param(name, marks=pytest.mark.slow) for name in BASES if name != "SD1")])
def test_far_less_is_kept(variant: str) -> None:
    """The more so under autocast, where torch keeps a copy of every weight in the dtype that it computes in."""
    in_full, in_half = (run(model(variant), autocast=autocast, side=32).saved for autocast in (False, True))
    with original_layers(model(variant).unet):
        assert in_full < 0.7 * run(model(variant), side=32).saved
        assert in_half < 0.5 * run(model(variant), autocast=True, side=32).saved


@pytest.mark.parametrize("variant", BASES)
def test_with_checkpointing(variant: str) -> None:
    made = family(variant).model()
    expected = run(made)
    with gradient_checkpointing(made):
        again = run(made)
    assert again.saved < expected.saved
    for one, other in zip(again.results, expected.results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=NEEDS_FP16), torch.bfloat16])
def test_with_weights_in_half_precision(dtype: torch.dtype) -> None:
    half = copy.deepcopy(model("SDXL").unet).to(dtype)
    halved = DiffusionModel(half, nn.Module(), (), model("SDXL").alphas_cumprod, "epsilon", "SDXL", 1.0, 64)
    frozen = run(halved)
    with original_layers(half):
        expected = run(halved)
    for one, other in zip(frozen.results, expected.results, strict=True):
        assert float(other.abs().max()) > 0
        assert torch.allclose(one.float(), other.float(), rtol=1e-2, atol=1e-2 * float(other.abs().max()))


@pytest.mark.parametrize("variant", BASES)
def test_text_encoders(variant: str) -> None:
    prompts = batch_prompts([tokenize_pieces(["a ", VectorRows(0, 2), " sword"])])

    def gradients(made: DiffusionModel) -> list[torch.Tensor]:
        tables = {key: torch.linspace(-0.3, 0.3, 2 * width).reshape(2, width) for key, width in made.widths.items()}
        leaves = {key: table.requires_grad_() for key, table in tables.items()}
        return list(torch.autograd.grad(made.encode_prompts(prompts, leaves).context.square().mean(), list(leaves.values())))

    frozen = gradients(model(variant))
    encoders = [encoder.module for encoder in model(variant).text_encoders]
    assert all(any(isinstance(layer, FrozenLinear) for layer in module.modules()) for module in encoders)
    with original_layers(encoders[0]), original_layers(encoders[-1]) if len(encoders) > 1 else nullcontext():
        expected = gradients(model(variant))
    for one, other in zip(frozen, expected, strict=True):
        assert float(other.abs().max()) > 0
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_without_gradients_nothing_is_kept_and_the_output_is_the_same() -> None:
    made = model("SD1")
    context = torch.randn(1, 77, made.unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(1))
    noisy, timesteps = torch.ones(1, 4, 8, 8), torch.tensor([300])
    with torch.no_grad():
        output = made.predict(noisy, timesteps, Conditioning(context))
        with original_layers(made.unet):
            assert torch.equal(made.predict(noisy, timesteps, Conditioning(context)), output)
    assert output.grad_fn is None


def test_every_layer_that_matters_is_frozen() -> None:
    kinds = {type(layer) for layer in model("SDXL").unet.modules()}
    assert {FrozenGEGLU, FrozenResnetBlock2D, FrozenConv2d, FrozenLinear} <= kinds
    assert not kinds & {kind.__bases__[1] for kind in kinds if issubclass(kind, FrozenLayer)}


def test_a_layer_of_another_kind_stays_as_it_is() -> None:
    class Own(nn.Linear):
        pass

    network = nn.Sequential(Own(2, 2), nn.Conv2d(1, 1, 3, padding_mode="circular"), nn.Conv2d(1, 1, 3, padding="same"), nn.SiLU())
    kinds = [type(layer) for layer in network]
    freeze(network)
    assert [type(layer) for layer in network] == kinds
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_layer_that_is_trained_after_all_gets_its_gradient() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4))
    freeze(network)
    network.requires_grad_(True)
    network(torch.randn(1, 2, 3, 3, requires_grad=True)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_freezing_twice_and_plain_give_back_what_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    freeze(network)
    freeze(network)
    kinds = [type(layer) for layer in network]

    def fail_within() -> None:
        with original_layers(network):
            assert [type(layer) for layer in network] == [nn.Linear, nn.LayerNorm]
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert [type(layer) for layer in network] == kinds


def test_no_gradient_is_computed_for_a_skip_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block on the way up joins the first convolution's output, from before the prompt is read."""
    channels: list[int | None] = []
    real = FrozenConv2d.forward

    def forward(self: FrozenConv2d, input: torch.Tensor, wanted: int | None = None) -> torch.Tensor:
        channels.append(wanted if wanted is not None and wanted < input.shape[1] else None)
        return real(self, input, wanted)

    monkeypatch.setattr(FrozenConv2d, "forward", forward)
    run(model("SD1"))
    assert [wanted for wanted in channels if wanted is not None] == [32, 32]  # its first convolution, and its shortcut


def test_a_skip_that_needs_its_gradient_gets_it() -> None:
    made = model("SD1")
    context = torch.zeros(1, 77, made.unet.config.cross_attention_dim)

    def gradient() -> torch.Tensor:
        noisy = torch.ones(1, 4, 8, 8, requires_grad=True)
        output = made.predict(noisy, torch.tensor([300]), Conditioning(context))
        return torch.autograd.grad(output.square().mean(), noisy)[0]

    frozen = gradient()
    with original_layers(made.unet):
        assert torch.allclose(frozen, gradient(), rtol=1e-4, atol=1e-7)
