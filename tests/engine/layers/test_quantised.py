"""Layers with quantised weights: the results of dequantised weights, none of which are kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.engine.layers.test_frozen import run
from tests.families import BASES, SOME_SLOW, family
from tests.quantised import Fp8
from train_embedding.engine.layers.quantised import QuantisedWeight, hold_quantised
from train_embedding.engine.loading import ldm
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.prompts.splicing import VectorRows, batch_prompts, tokenize_pieces
from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing


def both(variant: str, dtype: torch.dtype = torch.float8_e4m3fn) -> tuple[DiffusionModel, DiffusionModel, Fp8]:
    """A model over quantised weights, one over their values, and the quantised weights."""
    made = family(variant)
    weights = Fp8(made.state(), dtype)
    quantised, plain = (
        ldm.build_model(state, made.params(), text_config=made.text_config) for state in (weights.quantised, weights.plain)
    )
    return quantised, plain, weights


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_the_same_output_and_gradients_as_with_dequantised_weights(variant: str) -> None:
    quantised, plain, weights = both(variant)
    for one, other in zip(run(quantised).results, run(plain).results, strict=True):
        assert float(other.abs().max()) > 0
        assert torch.equal(one, other)
    assert weights.calls > 200


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_the_same_under_autocast(dtype: torch.dtype) -> None:
    quantised, plain, weights = both("SDXL", dtype)
    weights.dtypes.clear()
    one, other = run(quantised, autocast=True), run(plain, autocast=True)
    for mine, theirs in zip(one.results, other.results, strict=True):
        assert float((mine - theirs).abs().max()) < 0.02 * float(theirs.abs().max())
    assert weights.dtypes == {torch.bfloat16}


@pytest.mark.parametrize("variant", BASES)
def test_text_encoders(variant: str) -> None:
    """OpenCLIP's joint projection is split, and its projection of the pooled output is transposed."""
    quantised, plain, _ = both(variant)
    prompts = batch_prompts([tokenize_pieces(["a ", VectorRows(0, 2), " sword"])])
    results: list[list[torch.Tensor]] = []
    for made in (quantised, plain):
        torch.manual_seed(3)
        tables = {key: torch.randn(2, table.shape[1], requires_grad=True) for key, table in empty_vector_tables(made).items()}
        encoded = made.encode_prompts(prompts, tables)
        parts = [part for part in (encoded.context, encoded.pooled) if part is not None]
        torch.stack([part.square().mean() for part in parts]).sum().backward()
        results.append([encoded.context.detach(), *(table.grad for table in tables.values() if table.grad is not None)])
    assert len(results[0]) == (3 if variant == "SDXL" else 2)
    for one, other in zip(*results, strict=True):
        assert float(other.abs().max()) > 0
        assert torch.equal(one, other)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_dequantised_values_are_kept(checkpointing: bool) -> None:
    quantised, plain, weights = both("SDXL")

    def step(made: DiffusionModel) -> int:
        if not checkpointing:
            return run(made).saved
        with gradient_checkpointing(made):
            return run(made).saved

    assert step(quantised) == step(plain), "what is saved in addition to the weights"
    assert weights.most_alive == 1
    assert weights.alive == 0
    assert weights.calls > 400, "once in the forward pass and once in the backward pass"


def test_the_weights_stay_as_they_are() -> None:
    quantised, _, weights = both("SD1")
    before = {key: tensor.clone().view(torch.uint8) for key, tensor in weights.stored.items()}
    run(quantised)
    assert all(torch.equal(weights.stored[key].view(torch.uint8), before[key]) for key in before)
    held = sum(parameter.numel() for parameter in quantised.unet.parameters())
    assert held < 0.05 * sum(tensor.numel() for tensor in before.values()), "only norms and biases are parameters"


def test_a_change_of_the_hosts_weight_is_seen() -> None:
    stored = torch.ones(2, 3).to(torch.float8_e4m3fn)
    layer = nn.Linear(3, 2, bias=False)
    hold_quantised(layer, QuantisedWeight(stored.shape, lambda device, dtype: stored.to(device, dtype)))
    assert layer(torch.ones(3)).tolist() == [3, 3]
    stored.copy_(torch.full((2, 3), 2.0))
    assert layer(torch.ones(3)).tolist() == [6, 6]


def test_parts_of_a_weight_are_views_of_its_values() -> None:
    values = torch.randn(6, 4, 1, 1)
    weight = QuantisedWeight(values.shape, lambda device, dtype: values.to(device, dtype))
    matrix = weight[:, :, 0, 0]
    parts = matrix.t().chunk(2)
    expected = values[:, :, 0, 0].t().chunk(2)
    assert (weight.ndim, matrix.ndim, len(parts)) == (4, 2, 2)
    for part, one in zip(parts, expected, strict=True):
        made = part.dequantised(values.device, values.dtype)
        assert part.shape == one.shape
        assert torch.equal(made, one)
        assert made.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("layer", "words"),
    [(nn.Embedding(3, 2), "Embedding cannot hold"), (nn.Conv2d(2, 3, 1, padding="same"), "Conv2d cannot hold"),
     (nn.Linear(3, 2), r"\(3, 2\) instead of \(2, 3\)")],
)  # fmt: skip
def test_layers_that_cannot_hold_a_quantised_weight(layer: nn.Module, words: str) -> None:
    weight = QuantisedWeight(torch.Size((3, 2)), lambda device, dtype: torch.zeros(3, 2, device=device, dtype=dtype))
    with pytest.raises(ValueError, match=words):
        hold_quantised(layer, weight)
