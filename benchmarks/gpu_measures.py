"""Measurements of `benchmarks.gpu`: time and memory of steps, errors of gradients, and images before and after training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.plain_step import PlainStep
from benchmarks.step_time_rounds import machine as cpu_machine
from train_embedding.engine.config.spec import TrainingSpec, resolve
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage, LatentDataset
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments
from train_embedding.engine.model.noise_schedule import add_noise
from train_embedding.engine.profiling.memory import WEIGHTS, count_memory
from train_embedding.engine.profiling.meta_models import meta_model
from train_embedding.engine.runtime import cuda_graph
from train_embedding.engine.runtime.precision import FIRST_FACTOR, uses_fp16_gradients
from train_embedding.engine.sampling import draw_latents
from train_embedding.engine.training.events import Event, Stepped
from train_embedding.engine.training.graphed_gradient import GraphedGradient
from train_embedding.engine.training.loop import LoopHooks, accumulate_gradient, draw_noise, train
from train_embedding.engine.training.losses import per_sample_losses, prediction_target
from train_embedding.engine.training.state import TrainState, new_state
from train_embedding.messages import Message

Row = dict[str, Any]
UNTIMED = 3
"Steps before those that are timed; with CUDA graphs, the second of them is recorded."
GRADIENT_BATCH = 2
GRADIENT_STEPS = 4
"Batches that gradients are compared on; each has other timesteps and noise."
IMAGE_STEPS = 8
PRECISIONS = (("fp16 weights, scaled loss", torch.float16), ("bf16 weights", torch.bfloat16))


@dataclass(frozen=True)
class Case:
    """A model to measure with. `true_size` says whether its memory can be counted on the meta device."""

    name: str
    model: DiffusionModel
    true_size: bool

    @property
    def device(self) -> torch.device:
        return self.model.device


class Clock:
    """Measures the time from the end of the untimed steps to the end of the last one, and the memory on the way."""

    def __init__(self, case: Case, steps: int) -> None:
        self._device, self._steps, self._done = case.device, steps, 0
        self._cuda = case.device.type == "cuda"
        self._before = torch.cuda.memory_allocated(self._device) if self._cuda else 0
        if self._cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        self._began = self._ended = 0.0

    def tick(self) -> None:
        """Call this at the end of each step."""
        self._done += 1
        if self._done in (UNTIMED, UNTIMED + self._steps):
            if self._cuda:
                torch.cuda.synchronize(self._device)
            self._began, self._ended = self._ended, time.perf_counter()

    def row(self, batch: int) -> Row:
        """Return the measurements. Memory is that in addition to the weights."""
        seconds = (self._ended - self._began) / self._steps
        row: Row = {"ms": 1000 * seconds, "images/s": batch / seconds}
        if self._cuda:
            row["peak GiB"] = (torch.cuda.max_memory_allocated(self._device) - self._before) / 2**30
        return row


def time_plain(case: Case, batch: int, steps: int, *, encodes: bool) -> Row:
    """Time the plain step."""
    clock = Clock(case, steps)
    with torch.enable_grad(), PlainStep(case.model, batch, case.model.resolution, encodes=encodes) as plain:
        for _ in range(UNTIMED + steps):
            plain.step()
            clock.tick()
    return clock.row(batch)


def time_ours(case: Case, batch: int, steps: int, *, graphs: bool, vectors: dict[bool, torch.Tensor] | None = None) -> Row:
    """Time this project's step, and add the vectors at the end under `graphs`."""
    run, said = _Run(case, batch, UNTIMED + steps), list[Message]()
    gradient = accumulate_gradient
    if graphs:
        backend = cuda_graph.graph_backend(case.model)
        if backend is None:
            return {"note": "there are no CUDA graphs on this device"}
        gradient = GraphedGradient(case.model, run.spec, run.state.scale, backend, said.append)
    clock = Clock(case, steps)
    run.train(clock.tick, gradient)
    if vectors is not None and not said:
        vectors[graphs] = run.vectors()
    counted = {"counted GiB": _counted(case, batch)} if case.true_size and case.device.type == "cuda" else {}
    return clock.row(batch) | counted | ({"note": str(said[0])} if said else {})


def time_compiled(case: Case, steps: int, *, mode: str, backend: str, frozen: bool) -> Row:
    """Time this project's step for one image with a compiled UNet; its note says how long the first step took.

    Args:
        case: The model.
        steps: Steps that are timed.
        mode: Of `torch.compile`.
        backend: Of `torch.compile`.
        frozen: Whether the UNet has our frozen layers, which torch 2.1 cannot compile, or the original ones.
    """
    options: dict[str, Any] = {"mode": mode} if backend == "inductor" else {}
    torch._dynamo.reset()
    compiled = replace(case, model=replace(case.model, unet=torch.compile(case.model.unet, backend=backend, **options)))
    run, clock, ends = _Run(compiled, 1, UNTIMED + steps), Clock(case, steps), [time.perf_counter()]

    def tick() -> None:
        clock.tick()
        ends.append(time.perf_counter())

    with nullcontext() if frozen else original_layers(case.model.unet):
        run.train(tick, accumulate_gradient)
    return clock.row(1) | {"note": f"first step {ends[1] - ends[0]:.0f} s"}


def gradient_errors(case: Case, tried: Callable[[Row, Callable[[], Row]], Row]) -> Iterator[Row]:
    """Compare gradients in half precision with those in fp32, all with the weights rounded to half precision once.

    Args:
        case: The model.
        tried: Completes a row, or notes why it could not be.
    """
    exact: list[torch.Tensor] = []

    def reference() -> Row:
        exact.append(_gradient(case, torch.float32))
        return {"relative error": 0.0}

    def compared(gradient: Callable[[], torch.Tensor]) -> Row:
        difference = gradient() - exact[0]
        return {"relative error": float(difference.norm() / exact[0].norm())}

    yield tried({"computed in": "fp32, the reference"}, reference)
    if exact:
        for name, dtype in PRECISIONS:
            yield tried({"computed in": name}, lambda d=dtype: compared(lambda: _gradient(case, d)))
        yield tried({"computed in": "as a run computes"}, lambda: compared(lambda: _own_gradient(case)))


def check_images(case: Case) -> Row:
    """Sample an image, train some steps, and sample it again."""
    before = _image(case)
    _Run(case, 1, UNTIMED + 2).train(lambda: None, accumulate_gradient)
    same = torch.equal(before, _image(case))
    return {"result": "bit-identical" if same else "they differ"}


def machine(device: str) -> dict[str, Any]:
    """Return facts about the machine."""
    facts = cpu_machine()
    if device == "cuda":
        facts |= {"GPU": torch.cuda.get_device_name(), "CUDA": torch.version.cuda}
    return facts


class _Run:
    """A training on random latents with the default options, apart from evaluations and stopping."""

    def __init__(self, case: Case, batch: int, steps: int) -> None:
        self._model = case.model
        side = case.model.resolution
        self.spec = TrainingSpec(
            embedding="te-benchmark", dataset="x", steps=steps, batch_size=batch, template=("a photo of [name]",),
            width=side, height=side, eval_every=0, early_stopping=False, lr_cooldown_steps=0,
        )  # fmt: skip
        self.resolved = resolve(self.spec, side)
        start = {key: table[:1] for key, table in self._model.token_embeddings("star").items()}
        self.state: TrainState = new_state(start, self.resolved, case.device, scales_loss=uses_fp16_gradients(self._model))
        self.dataset = LatentDataset(_images(side), self.resolved, 1, case.device)

    def train(self, tick: Callable[[], None], gradient: Any) -> None:
        def listen(event: Event) -> None:
            if isinstance(event, Stepped):
                tick()

        with torch.enable_grad():
            hooks = LoopHooks(lambda _vectors: torch.zeros(1), listen, lambda: False, gradient=gradient)
            train(self._model, self.state, self.dataset, self.resolved, hooks)

    def vectors(self) -> torch.Tensor:
        return torch.cat([tensor.detach().flatten().cpu() for tensor in self.state.vectors.values()])


def _images(side: int) -> list[EncodedImage]:
    generator = torch.Generator().manual_seed(1)
    shape = (4, side // 8, side // 8)
    return [
        EncodedImage(
            TrainingImage(f"{index}.png", Path(f"{index}.png"), "", (side, side), (side, side)),
            LatentMoments(torch.randn(shape, generator=generator), torch.zeros(shape)),
        )
        for index in range(4)
    ]


def _counted(case: Case, batch: int) -> float:
    return count_memory(meta_model(case.model.family, WEIGHTS), case.model.resolution, batch=batch).peak / 2**30


def _own_gradient(case: Case) -> torch.Tensor:
    """Return the gradient that a run computes, over some batches."""
    run = _Run(case, GRADIENT_BATCH, GRADIENT_STEPS)
    gradients: list[torch.Tensor] = []
    with torch.enable_grad():
        for step in range(1, GRADIENT_STEPS + 1):
            run.state.optimizer.zero_grad()
            accumulate_gradient(case.model, run.state.vectors, run.dataset, run.spec, step, run.state.scale)
            gradients += _read(run.state)
    return torch.cat(gradients)


def _gradient(case: Case, dtype: torch.dtype) -> torch.Tensor:
    """Return the same gradient, with the weights in a dtype and without autocast. In fp16 the loss is scaled."""
    model = replace(
        case.model,
        unet=deepcopy(case.model.unet).to(dtype),
        text_encoders=tuple(replace(encoder, module=deepcopy(encoder.module).to(dtype)) for encoder in case.model.text_encoders),
    )
    run, factor = _Run(case, GRADIENT_BATCH, GRADIENT_STEPS), FIRST_FACTOR if dtype == torch.float16 else 1.0
    gradients: list[torch.Tensor] = []
    with torch.enable_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        for step in range(1, GRADIENT_STEPS + 1):
            drawn = draw_noise(model, run.dataset.batch(step), run.spec)
            latents = drawn.batch.latents
            prompts = model.encode_prompts(drawn.batch.prompts, run.state.vectors).to(dtype)
            noisy = add_noise(latents, drawn.noise, model.alphas_cumprod, drawn.timesteps).to(dtype)
            target = prediction_target(model.prediction_type, latents, drawn.noise, model.alphas_cumprod, drawn.timesteps)
            loss = per_sample_losses(model.predict(noisy, drawn.timesteps, prompts), target).mean()
            found = torch.autograd.grad(factor * loss, run.state.trainable())
            gradients += [(gradient.double() / factor).flatten().cpu() for gradient in found]
    return torch.cat(gradients)


def _read(state: TrainState) -> list[torch.Tensor]:
    return [tensor.grad.double().flatten().cpu() for tensor in state.trainable() if tensor.grad is not None]


def _image(case: Case) -> torch.Tensor:
    side = case.model.resolution
    latents = draw_latents(case.model, ["a photo of a star"], [7], steps=IMAGE_STEPS, width=side, height=side)
    return case.model.decode_latents(latents).cpu()
