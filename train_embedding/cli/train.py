"""`train-embedding train`: trains an embedding on a folder of pictures."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import add_host_options, call_on_stop_signals, count, print_json, run_in_main_process
from train_embedding.engine.config import CHOICES, PRESETS, TrainingSpec
from train_embedding.errors import NotFound, TrainingFailed

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import Runs, RunState

TICK = 0.2
"Seconds between two looks at the run."
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "teacher_prompt": ("a long prompt to distil into the embedding, instead of pictures", {"metavar": "TEXT"}),
    "candidates": ("words or phrases, with commas between, to start from the best of", {"metavar": "WORDS"}),
    "encoders": ("whose vectors are trained, with SDXL", {"choices": CHOICES["encoders"]}),
    "preset": ("values for all that is not given here", {"choices": tuple(PRESETS)}),
    "steps": ("how long to train", {"type": int, "metavar": "N"}),
    "batch_size": ("pictures per step", {"type": int, "metavar": "N"}),
    "learning_rate": ('a number, or a schedule such as "0.005:100, 1e-3:1000"', {"metavar": "RATE"}),
    "width": ("pixels that pictures are brought to; 0 for the checkpoint's own", {"type": int, "metavar": "N"}),
    "height": ("likewise", {"type": int, "metavar": "N"}),
    "buckets": ("let pictures keep about their shape instead of width × height", {"action": argparse.BooleanOptionalAction}),
    "resize_mode": ("how a picture gets its size: its edges cut off, or distorted", {"choices": CHOICES["resize_mode"]}),
    "random_flip": ("mirror pictures half of the time", {"action": argparse.BooleanOptionalAction}),
    "repeats": (
        "search subfolders such as 3_faces too, whose pictures come three times as often",
        {"action": argparse.BooleanOptionalAction},
    ),
    "masks": (
        "where the loss counts: NAME-masklabel.png, transparency, or the first there is",
        {"choices": CHOICES["masks"]},
    ),
    "unmasked_weight": ("weight of masked places", {"type": float, "metavar": "W"}),
    "keep_tokens": ("first parts of [filewords] that are neither shuffled nor left out", {"type": int, "metavar": "N"}),
    "cache_latents_to_disk": ("keep latents on the disk for further runs", {"action": argparse.BooleanOptionalAction}),
    "template": (
        "a caption line that contains [name], or the name of a caption template; may be given several times",
        {"action": "append", "metavar": "LINE"},
    ),
    "shuffle_caption": ("shuffle the comma-separated parts of [filewords]", {"action": argparse.BooleanOptionalAction}),
    "caption_tag_dropout_rate": ("chance of leaving out each of these parts", {"type": float, "metavar": "P"}),
    "timesteps": ("which noise levels are drawn", {"choices": CHOICES["timesteps"]}),
    "timestep_focus": ("share of the middle noise levels in shifted ones", {"type": float, "metavar": "SHARE"}),
    "latent_sampling": ("how a picture becomes a latent", {"choices": CHOICES["latent_sampling"]}),
    "optimizer": ("free steps, turns of a fixed length, or a rate of its own", {"choices": CHOICES["optimizer"]}),
    "gradient_accumulation_steps": ("batches per step", {"type": int, "metavar": "N"}),
    "lr_warmup_steps": ("steps over which the rate rises", {"type": int, "metavar": "N"}),
    "loss": ("squares, or one for which odd pictures count less", {"choices": CHOICES["loss"]}),
    "min_snr_gamma": ("γ of the min-SNR weighting; 0 for none", {"type": float, "metavar": "GAMMA"}),
    "core_loss_weight": ("weight of the term that keeps the say of other words; 0 for none", {"type": float, "metavar": "W"}),
    "ema_decay": ("decay of the running average that is evaluated and saved; 0 for none", {"type": float, "metavar": "DECAY"}),
    "eval_every": ("steps between evaluations on fixed noise; 0 for none", {"type": int, "metavar": "N"}),
    "early_stopping": ("end when the evaluations have come to rest", {"action": argparse.BooleanOptionalAction}),
    "min_steps": ("the run does not end by itself before this step", {"type": int, "metavar": "N"}),
    "lr_cooldown_steps": ("last steps, with a falling rate", {"type": int, "metavar": "N"}),
    "keep": ("which vectors are kept in the end", {"choices": CHOICES["keep"]}),
    "max_grad_norm": ("largest norm of the gradient; 0 for no limit", {"type": float, "metavar": "NORM"}),
    "seed": ("of noise, order and captions", {"type": int, "metavar": "N"}),
    "save_every": ("steps between snapshots; 0 for none but the last", {"type": int, "metavar": "N"}),
    "preview_every": ("steps between previews; 0 for none", {"type": int, "metavar": "N"}),
    "preview_prompt": ("prompts of the previews, one in each line; [name] is the embedding", {"metavar": "TEXT"}),
    "preview_negative_prompt": ("negative prompt of the previews", {"metavar": "TEXT"}),
    "preview_seed": ("seed of the previews", {"type": int, "metavar": "N"}),
    "preview_steps": ("sampling steps of a preview", {"type": int, "metavar": "N"}),
    "preview_guidance": ("guidance scale of a preview", {"type": float, "metavar": "SCALE"}),
}
"""Every field of TrainingSpec that is an option; the other two are arguments. What is not given comes from the preset."""


def add_to(verbs: Any) -> None:
    what = "Trains an embedding. Ctrl-C ends it and keeps the result."
    parser = verbs.add_parser("train", help="train an embedding", description=what)
    parser.add_argument("embedding", metavar="NAME", help="an embedding that exists (train-embedding create makes one)")
    parser.add_argument("dataset", metavar="FOLDER", nargs="?", default="", help="folder of pictures, or --teacher-prompt")
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingSpec)}
    for name, (text, options) in OPTIONS.items():
        shown = "" if name == "template" or defaults[name] in ("", 0, False) else f" (default: {defaults[name]})"
        parser.add_argument(f"--{name.replace('_', '-')}", help=(text + shown).replace("%", "%%"), default=None, **options)
    parser.add_argument("--json", action="store_true", help="print the run's final state as JSON")
    add_host_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    def train(services: Services) -> int:
        return finish(services.runs, services.runs.start(spec_of(arguments, services)), arguments.json)

    return run_in_main_process(arguments, train)


def finish(runs: Runs, state: RunState, as_json: bool) -> int:
    """Tells what is known before the first step, follows a run to its end and prints what became of it.

    Raises TrainingFailed where it failed.
    """
    told = state.notes
    for note in told:
        print(note, file=sys.stderr)
    state = follow(runs, state)
    if as_json:
        print_json(state.to_json())
    else:
        for line in report(state, told):
            print(line)
    if state.error:
        raise TrainingFailed(state.error, state.hint)
    return 0


def spec_of(arguments: argparse.Namespace, services: Services) -> TrainingSpec:
    """The spec of the options that were given, on top of the preset's. Raises InvalidSpec, NotFound for a caption template."""
    values = {name: getattr(arguments, name) for name in ("embedding", "dataset", *OPTIONS)}
    given = {name: value for name, value in values.items() if value is not None}
    if "template" in given:
        given["template"] = list(caption_lines(given["template"], services))
    return TrainingSpec.from_json(given)


def caption_lines(texts: Iterable[str], services: Services) -> Iterable[str]:
    for text in texts:
        if "[" in text:
            yield text
            continue
        templates = services.datasets.templates()
        if text not in templates:
            known = ", ".join(sorted(templates))
            raise NotFound(f'There is no caption template "{text}".', f"There are {known}; a line contains [name].")
        yield from templates[text]


def follow(runs: Runs, state: RunState) -> RunState:
    """Shows a progress bar until the run has ended; Ctrl-C asks it to stop."""
    from tqdm import tqdm

    bar = tqdm(total=state.steps, unit="step", desc=state.embedding, file=sys.stderr, mininterval=0.5)
    with bar, call_on_stop_signals(lambda: runs.stop(state.id)):
        while state.active:
            state = runs.wait(state.id, TICK)
            if state.status == "stopping":
                bar.set_description("stopping", refresh=False)
            bar.total = state.steps
            if state.step > bar.n:
                bar.set_postfix(loss=f"{state.loss:.4f}", refresh=False)
                bar.update(state.step - bar.n)
    return runs.wait(state.id)  # its thread, which may still be writing what it has told already


def report(state: RunState, told: Collection[str] = ()) -> Iterable[str]:
    """Sentences about a run that has ended. told: notes that were printed before."""
    if not state.error:
        verb = "Trained" if state.status == "finished" else "Stopped"
        yield f"{verb} {state.embedding} after {count(state.step, 'step')} in {state.seconds:.0f} s."
    if state.result:
        yield f"Written to {state.result}"
    yield from (note for note in state.notes if note not in told)
