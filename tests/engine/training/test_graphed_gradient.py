"""The gradient with CUDA graphs: the same as without them, and nothing in it that a graph could not repeat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.training.test_loop_on_device import NoWaiting, Waits, on_meta
from tests.families import BASES
from tests.families import model as family_model
from tests.recorded_operations import CpuGraphs
from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.training import graphed_gradient, loop
from train_embedding.engine.training.graphed_gradient import GraphedGradient, gradient_function, step_inputs
from train_embedding.engine.training.loop import LoopHooks, accumulate_gradient, draw_noise, noisy_loss, train
from train_embedding.engine.training.state import new_state
from train_embedding.messages import Message

SPEC = TrainingSpec(
    embedding="sword", dataset="x", steps=6, batch_size=2, learning_rate="0.01", latent_sampling="random", ema_decay=0.5,
    eval_every=0, lr_cooldown_steps=0, optimizer="adamw", lr_scheduler="constant", min_snr_gamma=5.0,
    max_grad_norm=1.0, template=("a (red:1.3) [name]", "blue [name]"),
)  # fmt: skip
VARIANTS = (*BASES, "SD1 inpainting")
SOME_SLOW = [pytest.param(name, marks=[] if name == "SD1" else pytest.mark.slow) for name in VARIANTS]


def images(masked: bool = False, sides: tuple[int, ...] = (8, 8, 8)) -> list[EncodedImage]:
    generator = torch.Generator().manual_seed(4)
    made: list[EncodedImage] = []
    for index, side in enumerate(sides):
        moments = LatentMoments(torch.randn(4, side, 8, generator=generator), torch.rand(4, side, 8, generator=generator))
        mask = torch.rand(side, 8, generator=generator) if masked else None
        size = (64, 8 * side)
        made.append(EncodedImage(TrainingImage(f"{index}.png", Path(f"{index}.png"), "", size, size), moments, None, mask))
    return made


def teacher(model: DiffusionModel) -> Conditioning:
    generator = torch.Generator().manual_seed(5)
    pooled = sum(encoder.pooled_width for encoder in model.text_encoders)
    width = sum(encoder.width for encoder in model.text_encoders)
    row = torch.randn(1, pooled, generator=generator) if pooled else None
    return Conditioning(torch.randn(1, 77, width, generator=generator), row).map(lambda part: part.to(model.device))


class Run:
    """A training with or without graphs."""

    def __init__(
        self,
        model: DiffusionModel,
        backend: CpuGraphs | None,
        spec: TrainingSpec = SPEC,
        encoded: list[EncodedImage] | None = None,
        distills: bool = False,
        scales_loss: bool = False,
    ) -> None:
        self.model = model
        self.resolved: ResolvedSpec = resolve(spec, 64)
        self.said: list[Message] = []
        self.state = new_state(self._start(), self.resolved, model.device, scales_loss=scales_loss)
        taught = teacher(model) if distills else None
        self.dataset = LatentDataset(encoded or images(), self.resolved, 2, model.device, taught)
        self.losses: list[torch.Tensor] = []
        self.gradient = accumulate_gradient
        if backend is not None:
            self.gradient = GraphedGradient(model, spec, self.state.scale, backend, self.said.append)

    def _start(self) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(6)
        return {key: torch.randn(2, width, generator=generator) * 0.3 for key, width in self.model.widths.items()}

    def train(self) -> Run:
        def listen(event: Any) -> None:
            if isinstance(event, loop.Stepped):
                self.losses.append(event.loss)

        hooks = LoopHooks(lambda _vectors: torch.zeros(1), listen, lambda: False, gradient=self.gradient)
        train(self.model, self.state, self.dataset, self.resolved, hooks)
        return self

    def ended(self) -> list[torch.Tensor]:
        return [*self.losses, *(tensor.detach() for tensor in (*self.state.vectors.values(), *self.state.ema.values()))]


def same(one: Run, other: Run) -> bool:
    pairs = list(zip(one.ended(), other.ended(), strict=True))
    return len(pairs) > 2 and all(torch.equal(first, second) for first, second in pairs)


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_a_run_with_graphs_is_bit_identical(variant: str) -> None:
    model, graphs = family_model(variant), CpuGraphs()
    graphed = Run(model, graphs).train()
    assert same(graphed, Run(model, None).train())
    assert graphed.said == []
    assert graphs.recorded >= 1
    assert graphs.replayed > graphs.recorded, "no step was computed by a graph"


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"gradient_accumulation_steps": 3, "steps": 3}, {}),
        pytest.param({"loss": "huber", "timesteps": "uniform"}, {}, marks=pytest.mark.slow),
        ({}, {"encoded": images(masked=True)}),
        ({}, {"distills": True}),
        ({}, {"scales_loss": True}),
        ({"batch_size": 1, "steps": 9}, {"encoded": images(sides=(8, 16))}),
    ],
    ids=["accumulated", "huber", "masks", "distilled", "scaled", "two sizes"],
)
def test_whatever_a_step_reads_is_an_input_of_the_graph(changes: dict[str, Any], given: dict[str, Any]) -> None:
    model, graphs = family_model("SD1"), CpuGraphs()
    spec = replace(SPEC, **changes)
    graphed = Run(model, graphs, spec, **given).train()
    assert same(graphed, Run(model, None, spec, **given).train())
    assert graphs.replayed > graphs.recorded > 0
    assert graphed.said == []


def test_the_factor_of_the_loss_reaches_a_recorded_step() -> None:
    """After an overflow it is halved; a graph with the factor of its recording would scale by the wrong one."""
    runs = [Run(family_model("SD1"), graphs, scales_loss=True) for graphs in (CpuGraphs(), None)]
    for run in runs:
        for step in range(1, 6):
            run.state.scale._factor = torch.tensor(1 + step / 7)  # not a power of 2: rounding shows which one was used
            run.state.optimizer.zero_grad()
            run.losses.append(run.gradient(run.model, run.state.vectors, run.dataset, run.resolved.spec, step, run.state.scale))
            run.losses.append(run.state.vectors["clip_l"].grad.clone())
    assert same(*runs)


def test_steps_in_another_dtype_are_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = CpuGraphs()
    run = Run(family_model("SD1"), graphs)
    for step in range(1, 7):
        if step == 4:
            monkeypatch.setattr(graphed_gradient, "compute_dtype", lambda _model: torch.bfloat16)
        run.gradient(run.model, run.state.vectors, run.dataset, SPEC, step, run.state.scale)
    assert graphs.recorded == 2


def test_graphs_are_not_part_of_the_state() -> None:
    """A run that is resumed, and so records anew, ends as one that was not interrupted."""
    model = family_model("SD1")
    whole = Run(model, CpuGraphs()).train()
    first = Run(model, CpuGraphs())
    first.resolved = replace(first.resolved, steps=4)
    first.train()
    second = Run(model, CpuGraphs())
    second.state.load(first.state.to_saved())
    second.losses = list(first.losses)
    assert same(second.train(), whole)


def test_gradients_are_added_to_those_that_are_there() -> None:
    run = Run(family_model("SD1"), CpuGraphs())
    for step in (1, 2, 3, 4):
        before = torch.ones_like(run.state.vectors["clip_l"])
        run.state.vectors["clip_l"].grad = before.clone()
        run.gradient(run.model, run.state.vectors, run.dataset, SPEC, step, run.state.scale)
        alone = {"clip_l": run.state.vectors["clip_l"].detach().clone().requires_grad_()}
        accumulate_gradient(run.model, alone, run.dataset, SPEC, step, run.state.scale)
        added = alone["clip_l"].grad
        assert added is not None
        assert torch.equal(run.state.vectors["clip_l"].grad, before + added)


class NotRecordable(NoWaiting):
    """Raises Waits also where a graph would repeat a copy from main memory, or draw random numbers that others draw too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        outcome = super().__torch_dispatch__(func, types, args, kwargs)
        made = [outcome] if isinstance(outcome, torch.Tensor) else []
        if any(tensor.is_meta for tensor in made):
            if name in ("copy_", "_to_copy") and not args[name == "copy_"].is_meta:
                raise Waits("a copy from main memory")
            if torch.Tag.nondeterministic_seeded in func.tags:
                raise Waits(f"{name} draws random numbers on the device")
        elif any(not tensor.is_meta and tensor.ndim for tensor in made):
            raise Waits(f"{name} makes a tensor in main memory")
        return outcome


def recorded_on_meta(variant: str, **given: Any) -> dict[str, torch.Tensor]:
    """What a graph would record of a step, on the meta device."""
    model = on_meta(variant)
    run = Run(model, None, **given)
    inputs = step_inputs(run.state.vectors, draw_noise(model, run.dataset.batch(1), run.resolved.spec), run.state.scale)
    compute = gradient_function(model, run.resolved.spec, run.state.scale)
    assert all(tensor.is_meta for tensor in inputs.values())
    if model.inpainting:
        compute(inputs)  # as before each recording; it encodes the grey image once
    with NotRecordable():
        return compute(inputs)


@pytest.mark.parametrize("variant", SOME_SLOW)
def test_a_step_can_be_recorded(variant: str) -> None:
    results = recorded_on_meta(variant, encoded=images(masked=True), scales_loss=True)
    assert {name: tensor.shape for name, tensor in results.items() if name != "loss"} == {
        f"gradient of {key}": (2, width) for key, width in on_meta(variant).widths.items()
    }


def test_a_step_of_distillation_can_be_recorded() -> None:
    assert "loss" in recorded_on_meta("SD1", distills=True)


@pytest.mark.parametrize(
    ("added", "match"),
    [
        (lambda loss: loss * loss.item(), "reads a value"),
        (lambda loss: loss + torch.ones(1).to(loss.device), "main memory"),
        (lambda loss: loss + torch.ones(3).to(loss.device, non_blocking=True).sum(), "main memory"),
        (lambda loss: loss + torch.rand(1, device=loss.device).sum(), "random numbers"),
        (lambda loss: loss + loss.new_zeros(4)[loss.new_zeros(4) > 0].sum(), "nonzero|mask"),
    ],
    ids=["value", "waiting copy", "copy", "random", "mask"],
)
def test_what_cannot_be_recorded_is_noticed(monkeypatch: pytest.MonkeyPatch, added: Any, match: str) -> None:
    monkeypatch.setattr(graphed_gradient, "noisy_loss", lambda *given: added(noisy_loss(*given)))
    with pytest.raises(Waits, match=match):
        recorded_on_meta("SD1")
