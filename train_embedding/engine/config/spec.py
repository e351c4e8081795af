"""What a training run is asked to do, as frozen data, and how it is resolved against a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from train_embedding.engine.config.learning_rate import RateSchedule, parse_schedule
from train_embedding.engine.config.old_names import RENAMED_FIELDS, with_current_names
from train_embedding.engine.config.presets import preset_values
from train_embedding.engine.config.rules import TEXTS, check_values
from train_embedding.errors import InvalidSpec

DEFAULT_TEMPLATE = (
    "a photo of [name]",
    "a picture of [name]",
    "[name], [filewords]",
    "a close-up of [name]",
    "[name] in a scene",
)


@dataclass(frozen=True)
class TrainingSpec:
    """A training run as a person asks for it. Steps count from 1 within the run."""

    embedding: str
    "Name of an embedding that exists in the host's embeddings folder; training continues from its vectors."
    dataset: str
    "Folder of pictures; its subfolders are not searched."
    teacher_prompt: str = ""
    """A prompt to distil instead of learning from pictures: the vectors are trained until the checkpoint predicts for them what
    it predicts for this text, which may be longer than 75 tokens. Then `dataset` is empty."""
    candidates: str = ""
    """Words or phrases, separated by commas: training starts from the one whose token embeddings give the lowest loss on fixed
    pictures and noise, or from the embedding as it is where that gives a lower one. Empty for the embedding as it is."""
    encoders: str = "all"
    'Whose vectors are trained: "all", or with SDXL "clip_l" or "clip_g" alone; the others stay as they are.'
    preset: str = "Fast"
    "The preset the fields came from, for display."
    steps: int = 400
    "Optimizer steps of this run, 1…1,000,000. A rate schedule that ends earlier ends the run."
    batch_size: int = 4
    "Pictures per step, 1…256."
    learning_rate: str = "5e-3"
    "AdamW's rate: a number, or the WebUI's schedule syntax \"0.005:100, 1e-3:1000\"."
    width: int = 0
    "Width in pixels that pictures are brought to, a multiple of 8; 0 for the checkpoint's own."
    height: int = 0
    "Height in pixels, likewise."
    buckets: bool = True
    """Whether a picture keeps about its shape: it is brought to the nearest of the sizes between 2:5 and 5:2 that have no more
    pixels than width × height, and a batch holds pictures of one size. Otherwise all pictures are width × height."""
    resize_mode: str = "crop"
    'How a picture gets its size: "crop" scales it to cover that size and cuts off what stands out, "resize" distorts it.'
    random_flip: bool = False
    "Whether each picture is shown mirrored half of the time; not for what has a left and a right, such as writing."
    repeats: bool = False
    "Whether subfolders named like `3_faces` are searched too; their pictures come that many times as often, 1…100."
    masks: str = "auto"
    """Where the loss counts: "file" takes `NAME-masklabel.png` beside the picture, white for what counts; "alpha" the picture's
    own transparency; "auto" the file or else the transparency; "none" counts every place alike."""
    unmasked_weight: float = 0.1
    "Weight, 0…1, of places that a mask leaves out, where 1 is that of places it shows."
    keep_tokens: int = 0
    "How many of the first comma-separated parts of `[filewords]` are neither shuffled nor left out, 0…1000."
    cache_latents_to_disk: bool = True
    "Whether latents are kept on the disk, beside the runs folder, for further runs on the same pictures."
    template: tuple[str, ...] = DEFAULT_TEMPLATE
    """Caption lines; `[name]` is the embedding, `[filewords]` the picture's `.txt` file or else its file name, which may itself
    say `[name]`. A caption that names the embedding nowhere gets it in front. Of `{red|blue}`, in a line or a `.txt` file, one is
    drawn each time; `\\{`, `\\|` and `\\}` are the characters themselves. `(red:1.2)`, `[red]`, `\\(` and BREAK act as in the
    WebUI's trainer."""
    shuffle_caption: bool = False
    "Whether the comma-separated parts of `[filewords]` come in random order."
    caption_tag_dropout_rate: float = 0.0
    "Probability, 0…1, of leaving out each comma-separated part of `[filewords]`; the embedding is never left out."
    timesteps: str = "shifted"
    """Which noise levels are drawn: "uniform" over all, "stratified", likewise and evenly within each batch, or "shifted", also
    evenly, most of them from the part 0.5…0.9 of the schedule."""
    timestep_focus: float = 0.8
    'With "shifted", the share, 0…1, that is drawn from that part; the rest is drawn from all levels.'
    latent_sampling: str = "deterministic"
    '"deterministic" trains on the mean of the VAE\'s posterior, "once" on one sample of it, "random" on a new one each step.'
    optimizer: str = "adamw"
    """"adamw", "direction", which turns the vectors and keeps their lengths (Directional Textual Inversion; rates near 0.01), or
    "prodigy", which finds its own rate (then 1; needs the package prodigyopt)."""
    gradient_accumulation_steps: int = 1
    "Batches whose gradients make one step, 1…256."
    lr_warmup_steps: int = 0
    "Steps over which the rate rises to its value."
    max_grad_norm: float = 0.0
    "Largest norm of the gradient, 0 for no limit."
    loss: str = "mse"
    '"mse", or "huber", for which odd pictures count less.'
    min_snr_gamma: float = 0.0
    "γ of the min-SNR weighting of noise levels, usually 5; 0 for none."
    core_loss_weight: float = 0.0
    """Weight of a term that keeps what the text encoder makes of the other words of a prompt as it was when the run began, so
    that they keep their say (CoRe; there 1.5e-4). 0 for none."""
    ema_decay: float = 0.9
    "Decay of the running average of the vectors, 0…0.9999: what is evaluated, saved and shown. 0 for the vectors themselves."
    eval_every: int = 12
    "Steps between evaluations on fixed pictures, noise and noise levels; 0 for none, and then the last step is kept."
    early_stopping: bool = True
    "Whether the run ends when the evaluations say that the embedding has learned, or does not learn."
    min_steps: int = 0
    "The automatic stop waits for this step."
    lr_cooldown_steps: int = 30
    "Steps at the end over which the rate falls to 0; at most a quarter of the run."
    keep: str = "best"
    'Which vectors are kept in the end: the "best" by evaluation, the earliest of equals, or the "last".'
    seed: int = 0
    "Seed of the noise, the timesteps, the order of the pictures and the choice of captions."
    save_every: int = 100
    "Steps between snapshots, 0 for none but the last."
    preview_every: int = 100
    "Steps between preview pictures, 0 for none."
    preview_prompt: str = "[name]"
    "Prompts of the previews, one in each line; `[name]` is the embedding."
    preview_negative_prompt: str = ""
    "Negative prompt of the previews."
    preview_seed: int = 1
    "Seed of the previews, the same for each so that they can be compared."
    preview_steps: int = 20
    "Sampling steps of a preview."
    preview_guidance: float = 7.0
    "Classifier-free guidance scale of a preview."

    def __post_init__(self) -> None:
        check_values(vars(self))

    @property
    def distills(self) -> bool:
        """Whether it learns from a prompt, not from pictures."""
        return bool(self.teacher_prompt.strip())

    def trained_encoders(self, available: Iterable[str]) -> list[str]:
        """Those of the checkpoint's text encoders whose vectors are trained. Raises InvalidSpec where it is none of them."""
        keys = list(available)
        chosen = [key for key in keys if self.encoders in ("all", key)]
        if not chosen:
            raise InvalidSpec(f"The checkpoint has no text encoder {self.encoders}.", f"It has {' and '.join(keys)}.")
        return chosen

    def candidate_words(self) -> list[str]:
        return [word.strip() for word in self.candidates.split(",") if word.strip()]

    def preview_prompts(self) -> list[str]:
        return [line.strip() for line in self.preview_prompt.splitlines() if line.strip()] or ["[name]"]

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values that `from_json` turns into an equal spec."""
        return {**dataclasses.asdict(self), "template": list(self.template)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingSpec:
        """Build a spec from JSON values, of which options may have the names of earlier versions.

        Args:
            values: What differs from the preset they name under "preset", or else from the default one.

        Raises:
            InvalidSpec: For an unknown or missing option, one given under two names, an unknown preset or a wrong value.
        """
        for old, new in RENAMED_FIELDS.items():
            if old in values and new in values:
                raise InvalidSpec(f"{old} is the old name of {new}, and both are given.", f"Leave {old} out.")
        values = with_current_names(values)
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            named = ", ".join(map(repr, unknown))
            raise InvalidSpec(f"A training run has no field {named}.", f"It has {', '.join(sorted(known))}.")
        teacher = values.get("teacher_prompt")
        needed = ("embedding",) if isinstance(teacher, str) and teacher.strip() else ("embedding", "dataset")
        missing = [name for name in needed if not values.get(name)]
        if missing:
            raise InvalidSpec(
                f"A training run needs {' and '.join(missing)}.",
                "In place of a dataset, teacher_prompt gives a text to distil." if "dataset" in missing else "",
            )
        for name in TEXTS:
            if name in values and not isinstance(values[name], str):
                raise InvalidSpec(f"{name} is {values[name]!r}; it must be text.")
        merged = {**preset_values(values.get("preset", "Fast")), **values}
        rate = merged["learning_rate"]
        merged["learning_rate"] = repr(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else rate
        template = merged.get("template", DEFAULT_TEMPLATE)
        lines = template.splitlines() if isinstance(template, str) else template
        if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
            raise InvalidSpec("The caption template must be text, or a list of lines.")
        merged["template"] = tuple(line.strip() for line in lines if line.strip())
        return cls(**{"dataset": "", **merged})


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec with everything decided that depends on the checkpoint."""

    spec: TrainingSpec
    width: int
    height: int
    steps: int
    "The spec's steps, or fewer where the rate schedule ends earlier."
    schedule: RateSchedule
    lr_cooldown_steps: int
    "The spec's, or less in a short run."

    def last_step(self, ending: int | None) -> int:
        """The run's last step. ending: the one that the stop rule has set, if it has."""
        return self.steps if ending is None else min(self.steps, ending)

    def rate(self, step: int, last: int) -> float:
        """The learning rate of a step, for a run whose last step is `last`."""
        warm = min(1.0, step / (self.spec.lr_warmup_steps + 1))
        cool = min(1.0, (last - step + 1) / (self.lr_cooldown_steps + 1))
        return self.schedule.at(step) * warm * cool

    def evaluates_at(self, step: int, ending: int | None) -> bool:
        every = self.spec.eval_every
        return bool(every) and (step % every == 0 or step == self.last_step(ending))


def resolve(spec: TrainingSpec, resolution: int) -> ResolvedSpec:
    """Decides what the spec leaves open. resolution: side in pixels of the checkpoint's own pictures."""
    schedule = parse_schedule(spec.learning_rate)
    steps = spec.steps if schedule.end is None else min(spec.steps, schedule.end)
    lr_cooldown_steps = min(spec.lr_cooldown_steps, steps // 4)
    return ResolvedSpec(spec, spec.width or resolution, spec.height or resolution, steps, schedule, lr_cooldown_steps)
