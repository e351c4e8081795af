"""Settings for CUDA: what is set, that it is put back, and that nothing happens elsewhere. No GPU is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.families import family, model
from train_embedding.engine.devices import channels_last, reorder, tf32, to_device
from train_embedding.engine.model import DiffusionModel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Recorded:
    """A tensor of the main memory that says what is done to it."""

    device = CPU

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def pin_memory(self) -> Recorded:
        self.calls.append("pin_memory")
        return self

    def to(self, device: torch.device, non_blocking: bool) -> Recorded:
        self.calls.append((device.type, non_blocking))
        return self


class Settings:
    allow_tf32 = False


def test_to_cuda_from_pinned_memory_without_waiting() -> None:
    tensor = Recorded()
    to_device(tensor, CUDA)
    assert tensor.calls == ["pin_memory", ("cuda", True)]


def test_elsewhere_nothing_is_pinned_and_copies_are_waited_for() -> None:
    for device in ("mps", "xpu", "privateuseone"):  # on MPS, a copy that is not waited for may read what was overwritten since
        tensor = Recorded()
        to_device(tensor, torch.device(device))
        assert tensor.calls == [(device, False)]
    here = torch.ones(2)
    assert to_device(here, CPU) is here


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, Settings]:
    matmul, cudnn = Settings(), Settings()
    cudnn.allow_tf32 = True
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    return matmul, cudnn


def test_tf32_is_set_and_put_back(backends: tuple[Settings, Settings]) -> None:
    matmul, cudnn = backends

    def fail_within() -> None:
        with tf32(CUDA):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)


def test_tf32_is_cudas_alone(backends: tuple[Settings, Settings]) -> None:
    with tf32(CPU):
        assert not backends[0].allow_tf32


def test_torch_has_these_settings() -> None:
    assert isinstance(torch.backends.cuda.matmul.allow_tf32, bool)
    assert isinstance(torch.backends.cudnn.allow_tf32, bool)


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> DiffusionModel:
    """A model that says that it lies on a GPU, over weights of its own."""
    made = family("SD1").model()
    for parameter in made.unet.parameters():
        parameter.data = parameter.data.clone()
    monkeypatch.setattr(DiffusionModel, "device", CUDA)
    return made


def in_channels_last(made: DiffusionModel) -> set[bool]:
    weights = [weight for weight in made.unet.parameters() if weight.ndim == 4 and weight.shape[-1] > 1 and weight.shape[1] > 1]
    return {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}


def test_channels_last_and_back(on_cuda: DiffusionModel) -> None:
    values = [weight.clone() for weight in on_cuda.unet.parameters()]

    def fail_within() -> None:
        with channels_last(on_cuda):
            assert in_channels_last(on_cuda) == {True}
            assert all(torch.equal(*pair) for pair in zip(on_cuda.unet.parameters(), values, strict=True))
            raise KeyError

    with pytest.raises(KeyError):
        fail_within()
    assert in_channels_last(on_cuda) == {False}
    assert all(torch.equal(*pair) for pair in zip(on_cuda.unet.parameters(), values, strict=True))


def test_a_hosts_weights_are_left_as_they_are(on_cuda: DiffusionModel) -> None:
    weights = [weight.data_ptr() for weight in on_cuda.unet.parameters()]
    with channels_last(replace(on_cuda, owns_weights=False)):
        assert [weight.data_ptr() for weight in on_cuda.unet.parameters()] == weights


def test_elsewhere_the_order_stays() -> None:
    with channels_last(model("SD1")):
        assert in_channels_last(model("SD1")) == {False}


def test_the_gradient_is_the_same_in_either_order() -> None:
    made = family("SD1").model()
    for parameter in made.unet.parameters():
        parameter.data = parameter.data.clone()

    def gradient() -> torch.Tensor:
        context = torch.linspace(-1, 1, 77 * made.unet.config.cross_attention_dim).reshape(1, 77, -1).requires_grad_()
        output = made.unet(torch.ones(1, 4, 8, 8), torch.tensor([500]), context, return_dict=False)[0]
        return torch.autograd.grad(output.square().mean(), context)[0]

    before = gradient()
    reorder(made.unet, torch.channels_last)
    assert torch.allclose(gradient(), before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
