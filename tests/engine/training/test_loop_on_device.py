"""A step of the loop on a device whose values cannot be read: nothing in it waits for the device but reading the loss.

The meta device stands for the GPU. It refuses some of what would wait by itself; `NoWaiting` names all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from tests.families import BASES, family
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.loading import ldm
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.training import loop
from train_embedding.engine.training.events import Event, Stepped
from train_embedding.engine.training.state import new_state

SPEC = TrainingSpec(
    embedding="sword", dataset="x", steps=2, batch_size=2, learning_rate="0.01", template=("a [name]",),
    gradient_accumulation_steps=2, latent_sampling="random", max_grad_norm=1.0, min_snr_gamma=5.0,
    ema_decay=0.9, eval_every=0, lr_cooldown_steps=0, optimizer="adamw",
)  # fmt: skip
READS_VALUES = (
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "unique", "_unique2", "bincount",
    "repeat_interleave",
)  # fmt: skip
"Operations whose result or its size depends on values, for which the program must wait."


class Waits(AssertionError):
    """The program would wait for the device here."""


class NoWaiting(TorchDispatchMode):
    """Raises Waits where an operation makes the program wait for the device, "meta" by name."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        name = func.overloadpacket.__name__
        if any(tensor.is_meta for tensor in tensors):
            if name in READS_VALUES:
                raise Waits(f"{name} reads a value")
            if name in ("index", "index_put", "index_put_") and any(tensor.dtype == torch.bool for tensor in tensors[1:]):
                raise Waits(f"{name} counts what a mask lets through")
            if name == "_to_copy" and str(kwargs.get("device", "meta")) == "cpu":
                raise Waits("a copy from the device")
            if name == "copy_" and not args[0].is_meta:
                raise Waits("a copy from the device")
            if name == "copy_" and not args[1].is_meta and not (len(args) > 2 and args[2]):
                raise Waits("a copy to the device that is waited for")
            if name not in ("copy_", "_to_copy") and any(not tensor.is_meta and tensor.ndim for tensor in tensors):
                raise Waits(f"{name} takes a tensor of the main memory")
        elif name == "_to_copy" and str(kwargs.get("device")) == "meta" and not kwargs.get("non_blocking"):
            raise Waits("a copy to the device that is waited for")
        return func(*args, **kwargs)


class NoLists(TorchFunctionMode):
    """Raises Waits where a tensor is made on the device from numbers: the copy of them is waited for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.tensor, torch.as_tensor) and str((kwargs or {}).get("device")) == "meta":
            raise Waits(f"{func.__name__} of numbers, on the device")
        return func(*args, **(kwargs or {}))


@cache
def on_meta(variant: str) -> DiffusionModel:
    made = family(variant)
    state = {key: tensor.to("meta") for key, tensor in made.state().items()}
    schedule = made.model().alphas_cumprod.to("meta")
    return replace(ldm.build_model(state, made.params(), text_config=made.text_config), alphas_cumprod=schedule)


def step(
    model: DiffusionModel,
    spec: TrainingSpec = SPEC,
    announce: Callable[[Event], None] = lambda _event: None,
    scales_loss: bool = False,
) -> int:
    """Trains on two pictures with nothing that waits let through; the steps that were made."""
    device = torch.device("meta")
    resolved = resolve(spec, 64)
    start = {key: torch.ones(2, width) for key, width in model.widths.items()}
    state = new_state(start, resolved, device, scales_loss=scales_loss)
    moments = LatentMoments(torch.zeros(4, 8, 8), torch.ones(4, 8, 8))
    mask = torch.ones(8, 8)
    pictures = [
        EncodedImage(TrainingImage(f"{i}.png", Path(f"{i}.png"), "", (64, 64), (64, 64)), moments, None, mask) for i in range(2)
    ]
    data = LatentDataset(pictures, resolved, 2, device)
    with NoLists(), NoWaiting():
        loop.train(model, state, data, resolved, loop.LoopHooks(lambda _vectors: torch.zeros(1), announce, lambda: False))
    return state.step


@pytest.mark.parametrize(
    ("variant", "optimizer"),
    [
        pytest.param(variant, optimizer, marks=[] if (variant, optimizer) == ("SD1", "adamw") else pytest.mark.slow)
        for variant in (*BASES, "SD1 inpainting")
        for optimizer in ("adamw", "direction")
    ],
)
def test_a_step_waits_for_nothing(variant: str, optimizer: str) -> None:
    assert step(on_meta(variant), replace(SPEC, optimizer=optimizer)) == 2


@pytest.mark.parametrize("optimizer", [pytest.param("adamw", marks=pytest.mark.slow), "direction"])
def test_scaling_the_loss_and_skipping_steps_wait_for_nothing(optimizer: str) -> None:
    assert step(on_meta("SD1"), replace(SPEC, optimizer=optimizer), scales_loss=True) == 2


def test_reading_the_loss_is_what_waits() -> None:
    def report(event: Event) -> None:
        if isinstance(event, Stepped):
            event.loss.item()

    with pytest.raises(Waits, match="reads a value"):
        step(on_meta("SD1"), announce=report)


def mask_rows(rows: torch.Tensor) -> torch.Tensor:
    return rows[rows > 0]


@pytest.mark.parametrize(
    ("waits", "match"),
    [
        (lambda alphas: alphas[0].item(), "reads a value"),
        (lambda alphas: bool(alphas[0] > 0), "reads a value"),
        (mask_rows, "nonzero|mask"),
        (lambda alphas: alphas.cpu(), "from the device"),
        (lambda alphas: alphas * torch.ones(len(alphas)), "main memory"),
        (lambda alphas: alphas[torch.tensor([0])], "main memory"),
        (lambda alphas: torch.ones(3).to(alphas.device), "to the device"),
        (lambda alphas: torch.tensor([1.0], device=alphas.device), "of numbers"),
    ],
)
def test_waiting_in_a_step_is_noticed(monkeypatch: pytest.MonkeyPatch, waits: Callable[[torch.Tensor], Any], match: str) -> None:
    real = loop.min_snr_weights

    def slower(*values: Any) -> torch.Tensor:
        waits(values[2])
        return real(*values)

    monkeypatch.setattr(loop, "min_snr_weights", slower)
    with pytest.raises(Waits, match=match):
        step(on_meta("SD1"))


def test_prodigy_reads_its_step_size() -> None:
    """Twice a step, in its own code: to turn sums over all vectors into a number."""
    pytest.importorskip("prodigyopt")
    with pytest.raises(Waits, match="reads a value"):
        step(on_meta("SD1"), replace(SPEC, optimizer="prodigy"))
