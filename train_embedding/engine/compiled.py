"""The UNet by `torch.compile`, where that works and gives the same loss and gradient as without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from train_embedding.engine.conditioning import Conditioning
from train_embedding.engine.frozen import plain
from train_embedding.engine.model import DiffusionModel

TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
"""How far the compiled output and gradients may lie from the others, as a part of their norm. In half precision a compiler
rounds in other places, and gradients differ by some hundredths between any two ways to compute them."""
_COMPILERS_ERRORS = (RuntimeError, AssertionError, AttributeError, ImportError, LookupError, OSError, TypeError, ValueError)

Network = Callable[..., Any]


@contextmanager
def compiled(
    model: DiffusionModel,
    on_fallback: Callable[[str], object] | None = None,
    compiler: Callable[[Network], Network] | None = None,
) -> Iterator[None]:
    """Within the context, the UNet's forward with gradients is compiled; without gradients it runs as ever.

    For each shape of its input the first call is made twice, forward and backward, compiled and not. When the compiler raises
    something, or what it made differs beyond the tolerance, the UNet runs uncompiled from then on and `on_fallback` is given
    one sentence that says why; it is logged where nobody asked for it. compiler: `torch.compile`, unless another is given.
    """
    unet = model.unet
    made = (compiler or _torch_compile)(unet.forward)
    unet.forward = _Trial(unet, unet.forward, made, on_fallback or logging.getLogger(__name__).warning)
    try:
        with plain(unet):  # whose backward the compiler knows, and plans for less memory by itself
            yield
    finally:
        del unet.forward  # the instance's; the class has its own


class _Trial:
    """Calls the compiled network for shapes where it has been seen to be right, and the other one everywhere else."""

    def __init__(self, unet: Any, eager: Network, made: Network, on_fallback: Callable[[str], object]) -> None:
        self._unet, self._eager, self._made, self._on_fallback = unet, eager, made, on_fallback
        self._right: set[tuple[Any, ...]] = set()
        self._given_up = False

    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor, **options: Any) -> Any:
        values = (sample, timestep, encoder_hidden_states)
        if self._given_up or not torch.is_grad_enabled():
            return self._eager(*values, **options)
        shapes = (sample.shape, encoder_hidden_states.shape, sample.dtype, self._unet.training)
        if shapes not in self._right:
            reason = self._reason_against(values, options)
            if reason:
                self._given_up = True
                self._on_fallback(f"The run goes on without torch.compile: {reason}")
                return self._eager(*values, **options)
            self._right.add(shapes)
        return self._made(*values, **options)

    def _reason_against(self, values: tuple[torch.Tensor, ...], options: dict[str, Any]) -> str:
        wanted = _results(self._eager, values, options)
        try:
            given = _results(self._made, values, options)
        except torch.cuda.OutOfMemoryError:
            raise
        except _COMPILERS_ERRORS as error:
            words = str(error).strip().splitlines() or [""]
            return f"it failed with {type(error).__name__}: {words[0][:160]}"
        half = values[0].dtype != torch.float32 or torch.is_autocast_enabled()
        return _difference(wanted, given, HALF_TOLERANCE if half else TOLERANCE)


def _results(network: Network, values: tuple[torch.Tensor, ...], options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The output, and the gradients that its mean square has in the prompt's tensors."""
    added = options.get("added_cond_kwargs")
    prompt = Conditioning(values[2], None if added is None else added["text_embeds"]).each(
        lambda tensor: tensor.detach().requires_grad_(tensor.requires_grad)
    )
    if added is not None:
        options = options | {"added_cond_kwargs": added | {"text_embeds": prompt.pooled}}
    output = network(*values[:2], prompt.context, **options)[0]
    results = {"output": output.detach()}
    learning = {"context": prompt.context, "pooled output": prompt.pooled}
    learning = {name: tensor for name, tensor in learning.items() if tensor is not None and tensor.requires_grad}
    if learning:
        gradients = torch.autograd.grad(output.float().square().mean(), list(learning.values()))
        results |= {f"gradient of the {name}": one for name, one in zip(learning, gradients, strict=True)}
    return results


def _difference(wanted: dict[str, torch.Tensor], given: dict[str, torch.Tensor], tolerance: float) -> str:
    for name, tensor in wanted.items():
        distance = float((given[name].float() - tensor.float()).norm() / tensor.float().norm().clamp(min=1e-12))
        if not distance <= tolerance:
            return f"its {name} is off by {distance:.2g} of the norm"
    return ""


def _torch_compile(network: Network) -> Network:
    return torch.compile(network, dynamic=False)
