"""A model over the weights of a host, which stay the host's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.checkpoints import Source, module_of, params
from train_embedding.demo.maker.unet import TEXT_CONFIG
from train_embedding.engine.loading.assign import count_shared_parameters
from train_embedding.engine.loading.shared_weights import (
    ldm_state,
    model_from_host_weights,
    rebind_storage,
    shares_storage,
    to_normal_tensor,
)
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.model.noise_schedule import noise_schedule
from train_embedding.engine.prompts.splicing import PromptBatch

SCHEDULE = noise_schedule(0.00085, 0.012, 1000)


def wrapped(key: str) -> str:
    """The key with what the WebUI puts around its text encoder and token embedding."""
    return key.replace("cond_stage_model.", "cond_stage_model.wrapped.").replace("token_embedding.", "token_embedding.wrapped.")


@pytest.fixture
def host(tiny_source: Source) -> nn.Module:
    """The source's weights as a WebUI holds them, beside tensors that are none of ours."""
    state = tiny_source.ldm_state()
    module = module_of(state, wrapped)
    module.register_buffer("alphas_cumprod", SCHEDULE)
    module.register_parameter("logvar", nn.Parameter(torch.zeros(1000)))
    return module


def live(host: nn.Module) -> DiffusionModel:
    return model_from_host_weights(ldm_state(host), params(), text_config=TEXT_CONFIG, alphas_cumprod=SCHEDULE, clip_skip=1)


def test_wrappers_are_looked_through(host: nn.Module, tiny_source: Source) -> None:
    state = tiny_source.ldm_state()
    found = ldm_state(host)
    assert set(found) == set(state)
    assert any("wrapped" in key for key in host.state_dict())


def test_all_weights_are_shared(host: nn.Module) -> None:
    model = live(host)
    state = {key: tensor for key, tensor in host.state_dict().items() if tensor.is_floating_point()}
    for module in model.modules():
        shared, total = count_shared_parameters(module, state)
        assert (shared, total) == (total, len(list(module.parameters())))
        assert total > 50


def test_a_change_of_the_host_is_seen(host: nn.Module, tiny_source: Source) -> None:
    model = live(host)
    weight = host.get_parameter("cond_stage_model.wrapped.transformer.text_model.embeddings.token_embedding.wrapped.weight")
    before = float(weight[3, 3].detach())
    with torch.no_grad():
        weight[3, 3] += 1
        try:
            assert float(model.text_encoders[0].token_embedding.weight[3, 3]) == before + 1
        finally:
            weight[3, 3] = before


def test_the_host_stays_as_it_was(host: nn.Module) -> None:
    before = {name: (parameter, parameter.requires_grad, parameter.clone()) for name, parameter in host.named_parameters()}
    host.train()
    model = live(host)
    table = torch.randn(1, 64, requires_grad=True)
    prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
    context = model.encode_prompts(prompts, {"clip_l": table})
    model.predict(torch.randn(1, 4, 8, 8), torch.tensor([5]), context).sum().backward()
    assert table.grad is not None
    after = dict(host.named_parameters())
    assert set(after) == set(before)
    for name, (parameter, needed_grad, values) in before.items():
        assert after[name] is parameter
        assert parameter.requires_grad == needed_grad
        assert parameter.grad is None
        assert torch.equal(parameter, values)
    assert all(module.training for module in host.modules())


@torch.no_grad()
def test_outputs_are_those_of_the_source(host: nn.Module, tiny_source: Source) -> None:
    model = live(host)
    ids, latents, timesteps = torch.randint(0, 49406, (1, 77)), torch.randn(1, 4, 8, 8), torch.tensor([500])
    context = tiny_source.text_encoder(ids).last_hidden_state
    assert torch.equal(model.text_encoders[0].module(ids).last_hidden_state, context)
    theirs = tiny_source.unet(latents, timesteps, context, return_dict=False)[0]
    assert torch.equal(model.predict(latents, timesteps, Conditioning(context)), theirs)


def test_clip_skip_and_schedule_are_the_hosts(host: nn.Module) -> None:
    schedule = torch.linspace(0.99, 0.01, 1000)
    model = model_from_host_weights(ldm_state(host), params(), text_config=TEXT_CONFIG, alphas_cumprod=schedule, clip_skip=2)
    assert (model.text_encoders[0].layer, model.text_encoders[0].normalised) == (2, True)
    assert torch.equal(model.alphas_cumprod, schedule)


@pytest.fixture
def inference_host(tiny_source: Source) -> nn.Module:
    """The source's weights as Forge holds them: loaded in inference mode."""
    with torch.inference_mode():
        return module_of({key: tensor.clone() for key, tensor in tiny_source.ldm_state().items()}, wrapped)


def test_weights_of_inference_mode_are_shared_and_let_a_gradient_through(inference_host: nn.Module) -> None:
    state = ldm_state(inference_host)
    assert all(tensor.is_inference() for tensor in state.values())
    model = live(inference_host)
    for module in model.modules():
        shared, total = count_shared_parameters(module, state)
        assert shared == total > 50
    table = torch.randn(1, 64, requires_grad=True)
    prompts = PromptBatch(torch.zeros(1, 1, 77, dtype=torch.long), torch.zeros(1, 1, 77, dtype=torch.long))
    context = model.encode_prompts(prompts, {"clip_l": table})
    model.predict(torch.randn(1, 4, 8, 8), torch.tensor([5]), context).sum().backward()
    assert table.grad is not None
    assert float(table.grad.abs().sum()) > 0


def test_a_plain_tensor_is_over_the_same_numbers() -> None:
    with torch.inference_mode():
        whole = torch.arange(12.0).reshape(3, 4)
        part = whole[1:, ::2]
    view = to_normal_tensor(part)
    assert not view.is_inference()
    assert view.tolist() == part.tolist()
    assert view.data_ptr() == part.data_ptr()
    assert to_normal_tensor(view).data_ptr() == view.data_ptr()


def test_a_model_moves_along_with_the_hosts_weights(host: nn.Module) -> None:
    model = live(host)
    assert shares_storage(model, ldm_state(host))
    weight = model.unet.conv_in.weight
    for parameter in host.parameters():
        parameter.data = parameter.data.clone()  # what moving to another device and back leaves
    assert not shares_storage(model, ldm_state(host))
    before = model.text_encoders[0].token_embedding.weight.clone()
    rebind_storage(model, live(host))
    assert shares_storage(model, ldm_state(host))
    assert model.unet.conv_in.weight is weight, "what holds the parameter sees the new numbers"
    assert torch.equal(model.text_encoders[0].token_embedding.weight, before)
