"""The training loop: what it changes, what it announces, and that it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training import loop
from train_embedding.engine.training.early_stopping import Evaluation, Verdict
from train_embedding.engine.training.evaluation import evaluation_losses, evaluation_set
from train_embedding.engine.training.events import Ended, Evaluated, Event, Started, Stepped
from train_embedding.engine.training.loop import Evaluate, LoopHooks, train
from train_embedding.engine.training.state import new_state

SPEC = TrainingSpec(
    embedding="sword", dataset="x", steps=3, batch_size=2, learning_rate="0.01", template=("a [name]",), latent_sampling="once",
    ema_decay=0.0, eval_every=0, lr_cooldown_steps=0, optimizer="adamw", lr_scheduler="constant",
)  # fmt: skip


@dataclass
class Run:
    """One training of two vectors on two pictures, and what was announced."""

    model: DiffusionModel
    spec: TrainingSpec = SPEC
    should_stop: Callable[[], bool] = lambda: False
    confirm: Evaluate | None = None
    untrained: dict[str, torch.Tensor] | None = None
    events: list[Event] = field(default_factory=list)
    copies: list[torch.Tensor] = field(default_factory=list)
    "The vectors after each step."

    def __post_init__(self) -> None:
        resolved = resolve(self.spec, 64)
        self.state = new_state({"clip_l": self.start()}, resolved, torch.device("cpu"))
        data = LatentDataset(self.pictures(), resolved, 2)
        hooks = LoopHooks(self.evaluate, self._announce, self.should_stop, confirm=self.confirm, untrained=self.untrained)
        train(self.model, self.state, data, resolved, hooks)

    @property
    def vectors(self) -> dict[str, torch.Tensor]:
        return self.state.vectors

    def evaluate(self, vectors: dict[str, torch.Tensor]) -> torch.Tensor:
        means = torch.stack([one.moments.mean for one in self.pictures()])
        items = evaluation_set(self.model, means, ["a [name]"] * 2, "sword", 2, repeats=4, seed=9)
        return evaluation_losses(self.model, vectors, items)

    def start(self) -> torch.Tensor:
        return self.model.token_embeddings("red star")["clip_l"].clone()

    def pictures(self) -> list[EncodedImage]:
        generator = torch.Generator().manual_seed(4)
        pixels = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
        moments = self.model.encode_images(pixels)
        return [
            EncodedImage(
                TrainingImage(f"{i}.png", Path(f"{i}.png"), "", (64, 64), (64, 64)),
                LatentMoments(moments.mean[i], moments.std[i]),
            )
            for i in range(2)
        ]

    def _announce(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Stepped):
            self.copies.append(event.state.vectors["clip_l"].detach().clone())

    @property
    def steps(self) -> list[Stepped]:
        return [event for event in self.events if isinstance(event, Stepped)]


def test_events_in_order(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model)
    assert run.events[0] == Started(3, run.state)
    assert run.events[-1] == Ended(3, False, run.state)
    assert [event.step for event in run.steps] == [1, 2, 3]
    assert len(run.events) == 5
    for event in run.steps:
        assert event.loss.shape == ()
        assert not event.loss.requires_grad
        assert event.state is run.state


def test_nothing_but_the_vectors_ever_gets_a_gradient(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [[parameter.clone() for parameter in module.parameters()] for module in tiny_model.modules()]
    seen: list[bool] = []
    real_step = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        grads = [parameter.grad for module in tiny_model.modules() for parameter in module.parameters()]
        seen.append(all(grad is None for grad in grads))
        (trained,) = self.param_groups[0]["params"]
        seen.append(trained.grad is not None and bool(trained.grad.abs().sum() > 0))
        return real_step(self, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run = Run(tiny_model)
    assert seen == [True, True] * 3
    for module, values in zip(tiny_model.modules(), before, strict=True):
        for parameter, value in zip(module.parameters(), values, strict=True):
            assert parameter.grad is None
            assert not parameter.requires_grad
            assert torch.equal(parameter, value)
    assert not torch.equal(run.vectors["clip_l"], run.start())


def test_steps_are_those_of_adamw_on_the_loss_of_the_batch(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model)
    data = LatentDataset(run.pictures(), resolve(SPEC, 64), 2)
    vectors = run.start()
    average, square = torch.zeros_like(vectors), torch.zeros_like(vectors)
    for step, after in enumerate(run.copies, 1):
        leaf = vectors.clone().requires_grad_()
        loss = loop.batch_loss(tiny_model, {"clip_l": leaf}, data.batch(step), SPEC)
        (gradient,) = torch.autograd.grad(loss, leaf)
        average, square = 0.9 * average + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        vectors = vectors - 0.01 * (average / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        assert torch.allclose(after, vectors, atol=1e-5)


def test_the_vectors_are_trained_in_place(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model)
    assert torch.equal(run.vectors["clip_l"].detach(), run.copies[-1])
    assert run.vectors["clip_l"].is_leaf


def test_the_loss_falls(tiny_model: DiffusionModel) -> None:
    """On fixed items of the training pictures: the same noise, timesteps and prompts before and after."""
    run = Run(tiny_model, replace(SPEC, steps=25, batch_size=4, learning_rate="0.05", latent_sampling="deterministic"))
    latents = torch.stack([one.moments.mean for one in run.pictures()])
    items = evaluation_set(tiny_model, latents, ["a [name]"] * 2, "sword", 2, repeats=8, seed=9)
    before = evaluation_losses(tiny_model, {"clip_l": run.start()}, items)
    after = evaluation_losses(tiny_model, {"clip_l": run.copies[-1]}, items)
    assert float(after.mean()) < float(before.mean()) - 0.002


def test_twice_the_same_bits(tiny_model: DiffusionModel) -> None:
    spec = replace(SPEC, timesteps="shifted", latent_sampling="random")
    one, other = Run(tiny_model, spec), Run(tiny_model, spec)
    assert all(torch.equal(*pair) for pair in zip(one.copies, other.copies, strict=True))
    assert [event.loss.item() for event in one.steps] == [event.loss.item() for event in other.steps]
    assert not torch.equal(one.copies[-1], Run(tiny_model, replace(spec, seed=1)).copies[-1])


def test_global_randomness_is_neither_used_nor_touched(tiny_model: DiffusionModel) -> None:
    torch.manual_seed(1)
    one = Run(tiny_model)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert torch.equal(Run(tiny_model).copies[-1], one.copies[-1])


def test_the_rate_follows_the_schedule(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model, replace(SPEC, steps=9, learning_rate="0.1:2, 0.001:4"))
    assert [event.rate for event in run.steps] == [0.1, 0.1, 0.001, 0.001]
    assert (run.events[0], run.events[-1]) == (Started(4, run.state), Ended(4, False, run.state))
    moves = [float((after - before).abs().max()) for before, after in zip([run.start(), *run.copies], run.copies, strict=False)]
    assert moves[0] == pytest.approx(0.1, rel=0.05)
    assert max(moves[2:]) < 0.005


def test_stopped_before_the_first_step(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model, should_stop=lambda: True)
    assert run.events == [Started(3, run.state), Ended(0, True, run.state)]
    assert torch.equal(run.vectors["clip_l"], run.start())


def test_stopped_in_the_middle(tiny_model: DiffusionModel) -> None:
    answers = iter([False, False, True])
    run = Run(tiny_model, should_stop=lambda: next(answers))
    assert run.events[-1] == Ended(2, True, run.state)
    assert len(run.steps) == 2
    assert torch.equal(run.copies[-1], Run(tiny_model).copies[1])


def test_a_stop_after_the_last_step_is_none(tiny_model: DiffusionModel) -> None:
    answers = iter([False, False, False, True])
    run = Run(tiny_model, should_stop=lambda: next(answers))
    assert run.events[-1] == Ended(3, False, run.state)


def test_the_gradient_is_clipped(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    real_step = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        norms.append(float(self.param_groups[0]["params"][0].grad.norm()))
        return real_step(self, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    Run(tiny_model)
    free = list(norms)
    norms.clear()
    limit = min(free) / 2
    Run(tiny_model, replace(SPEC, max_grad_norm=limit))
    assert norms == pytest.approx([limit] * 3, rel=1e-4)


def test_the_first_loss_is_that_of_the_start(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model)
    batch = LatentDataset(run.pictures(), resolve(SPEC, 64), 2).batch(1)
    with torch.no_grad():
        loss = loop.batch_loss(tiny_model, {"clip_l": run.start()}, batch, SPEC)
    assert run.steps[0].loss.item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_both_prediction_types_train(tiny_model: DiffusionModel, prediction_type: str) -> None:
    run = Run(replace(tiny_model, prediction_type=prediction_type))
    assert all(torch.isfinite(event.loss) for event in run.steps)


def test_accumulated_batches_are_one_large_batch(tiny_model: DiffusionModel) -> None:
    """The gradient of two batches is the mean of theirs."""
    run = Run(tiny_model)
    spec = replace(SPEC, gradient_accumulation_steps=2)
    data = LatentDataset(run.pictures(), resolve(spec, 64), 2)
    leaf = {"clip_l": run.start().requires_grad_()}
    loss = loop.accumulate_gradient(tiny_model, leaf, data, spec, 2, LossScale(torch.device("cpu"), enabled=False))
    assert leaf["clip_l"].grad is not None
    alone = {"clip_l": run.start().requires_grad_()}
    losses = [loop.batch_loss(tiny_model, alone, data.batch(step), SPEC) for step in (3, 4)]
    mean = torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(mean, alone["clip_l"])
    assert torch.allclose(leaf["clip_l"].grad, gradient, atol=1e-7)
    assert float(loss) == pytest.approx(mean.item(), rel=1e-5)


def test_evaluations_come_at_the_start_every_so_often_and_at_the_end(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model, replace(SPEC, steps=5, eval_every=2, ema_decay=0.5))
    kinds = [type(event).__name__ for event in run.events]
    assert kinds == [
        "Started", "Evaluated", "Stepped", "Stepped", "Evaluated", "Stepped", "Stepped", "Evaluated", "Stepped",
        "Evaluated", "Ended",
    ]  # fmt: skip
    assert [event.evaluation.step for event in run.events if isinstance(event, Evaluated)] == [0, 2, 4, 5]
    average = run.start()
    for step, copy in enumerate(run.copies):
        average = average.lerp(copy, 1 - min(0.5, (2 + step) / (11 + step)))
    assert torch.allclose(run.state.ema["clip_l"], average, atol=1e-7)
    assert torch.equal(run.state.kept[5]["clip_l"], run.state.ema["clip_l"])
    assert torch.allclose(run.state.evaluations[-1].losses.float(), run.evaluate(run.state.ema))


def test_frozen_vectors_end_as_not_learning(tiny_model: DiffusionModel) -> None:
    run = Run(tiny_model, replace(SPEC, steps=100, eval_every=1, learning_rate="1e-12"))
    assert run.state.verdict is Verdict.NOT_LEARNING
    assert run.state.step == run.state.ending == 8
    assert run.state.best_vectors()[0] == 0


def test_a_run_with_a_falling_rate_goes_on_if_it_still_improves(
    tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = replace(SPEC, steps=8, eval_every=2, lr_scheduler="linear")
    asked: list[tuple[int, int]] = []

    def improves(evaluations: Sequence[Evaluation], start: int) -> bool:
        asked.append((start, evaluations[-1].step))
        return True

    monkeypatch.setattr(loop, "still_improves", improves)
    run = Run(tiny_model, falling)
    assert asked == [(0, 4)]
    assert (run.state.step, run.state.extensions) == (8, 1)
    rates = [round(event.rate / 0.01, 4) for event in run.steps]
    assert rates == [1.0, 0.75, 0.5, 0.25, 0.5, 0.375, 0.25, 0.125]
    monkeypatch.setattr(loop, "still_improves", lambda _evaluations, _start: False)
    assert Run(tiny_model, falling).state.step == 4
    assert Run(tiny_model, replace(falling, early_stopping=False)).state.step == 8


def test_further_items_decide_before_a_run_ends_as_not_learning(tiny_model: DiffusionModel) -> None:
    frozen = replace(SPEC, steps=8, eval_every=2, lr_scheduler="linear", learning_rate="1e-12")
    asked: list[dict[str, torch.Tensor]] = []

    def confirm(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
        asked.append(vectors)
        return torch.full((64,), 1 - 0.1 * (len(asked) - 1))  # the second time lower

    assert Run(tiny_model, frozen).state.verdict is Verdict.NOT_LEARNING
    run = Run(tiny_model, frozen, confirm=confirm)
    assert (run.state.verdict, run.state.step, len(asked)) == (Verdict.CONVERGED, 4, 2)
    assert torch.equal(asked[0]["clip_l"], run.start())
    assert torch.equal(asked[1]["clip_l"], run.state.ema["clip_l"])
    shorter = {"clip_l": run.start()[:1]}
    asked.clear()
    assert Run(tiny_model, frozen, confirm=confirm, untrained=shorter).state.verdict is Verdict.CONVERGED
    assert torch.equal(asked[0]["clip_l"], shorter["clip_l"])


def test_a_run_that_learned_cools_down_and_ends(tiny_model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loop, "judge", lambda evaluations, _floor: Verdict.CONVERGED if len(evaluations) == 4 else Verdict.UNDECIDED
    )
    run = Run(tiny_model, replace(SPEC, steps=100, eval_every=2, lr_cooldown_steps=5))
    assert (run.state.verdict, run.state.ending, run.state.step) == (Verdict.CONVERGED, 11, 11)
    assert [round(event.rate / 0.01, 3) for event in run.steps] == [*[1.0] * 6, 0.833, 0.667, 0.5, 0.333, 0.167]
    assert run.events[-2].evaluation.step == 11  # type: ignore[union-attr]
