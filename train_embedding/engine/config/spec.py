"""What a training run is asked to do, as frozen data, and how it is resolved against a checkpoint.

Each option is declared here and nowhere else: type, default, label, help, bounds and place in the tab. The rules, the tab, the
command line, the API's schema and the tables in the documentation are loops over `OPTIONS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from train_embedding.embeddings.names import check_name
from train_embedding.engine.config.learning_rate import RateSchedule, parse_schedule
from train_embedding.engine.config.old_names import RENAMED_FIELDS, with_current_names
from train_embedding.engine.config.options import option, options_of
from train_embedding.engine.config.presets import PresetName, preset_values
from train_embedding.engine.config.rules import check_candidates, check_learning_rate, check_option, check_template
from train_embedding.errors import InvalidSpec

TimestepSampling = Literal["shifted", "stratified", "uniform"]
LatentSampling = Literal["deterministic", "once", "random"]
ResizeMode = Literal["crop", "resize"]
MaskSource = Literal["auto", "alpha", "file", "none"]
OptimizerName = Literal["adamw", "direction", "prodigy"]
LossName = Literal["mse", "huber"]
KeptVectors = Literal["best", "last"]

DEFAULT_TEMPLATE = (
    "a photo of [name]",
    "a picture of [name]",
    "[name], [filewords]",
    "a close-up of [name]",
    "[name] in a scene",
)
MAX_STEPS = 1_000_000
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class TrainingSpec:
    """A training run as its user describes it. Steps count from 1 within the run."""

    embedding: str = field(
        metadata=option(
            "Embedding",
            "The embedding to train.",
            "Basics",
            advanced=False,
            details="It must exist and fit the loaded checkpoint. Training continues from its vectors.",
        )
    )
    dataset: str = field(
        metadata=option(
            "Dataset folder",
            "A folder with 5 to 20 images of one subject or style.",
            "Basics",
            advanced=False,
            wide=True,
            placeholder="/home/me/images/my cat",
            details="On the machine that runs the training. A few images of the subject in different surroundings work "
            "better than many similar ones. Unreadable images are named and skipped.",
        )
    )
    preset: PresetName = field(
        default="Fast",
        metadata=option(
            "Preset",
            "Recommended values for the other options; you can still change each of them.",
            "Basics",
            advanced=False,
            new_row=True,
            details="*Fast*: batch size 4, at most 400 steps, mostly mid timesteps, at which a subject is learned. "
            "*Quality*: batch size 8, at most 1,200 steps, a new sample of each latent at every step. Both stop "
            "early and keep the best step. *WebUI classic*: the settings of the WebUI's own trainer (batch size 1, "
            "all timesteps), for older tutorials.",
        ),
    )
    steps: int = field(
        default=400,
        metadata=option(
            "Steps",
            "Number of optimizer steps.",
            "Basics",
            low=1,
            high=MAX_STEPS,
            unit="steps",
            advanced=False,
            new_row=True,
            details="The run ends sooner where early stopping or the learning rate schedule says so.",
        ),
    )
    learning_rate: str = field(
        default="5e-3",
        metadata=option(
            "Learning rate",
            "A number, or a schedule such as 0.005:100, 1e-3:1000",
            "Basics",
            unit="rate",
            advanced=False,
            wide=True,
            details="The schedule has the WebUI's syntax: this one is 0.005 to step 100, then 0.001 to step 1000, where the "
            "run ends.",
        ),
    )
    batch_size: int = field(
        default=4, metadata=option("Batch size", "Images per step.", "Basics", low=1, high=256, unit="images", advanced=False)
    )
    teacher_prompt: str = field(
        default="",
        metadata=option(
            "Pack a prompt (distillation)",
            "Trains on a long prompt instead of images.",
            "What to learn",
            multiline=True,
            details="The vectors are trained until the checkpoint predicts the same with them as with this text, which may "
            "be longer than 75 tokens. This packs a long list of keywords into a short trigger, for positive or "
            "negative prompts. Leave the dataset folder empty.",
        ),
    )
    candidates: str = field(
        default="",
        metadata=option(
            "Candidate words",
            "Words or phrases, separated by commas. Training starts from the best one if it beats the embedding itself.",
            "What to learn",
            new_row=True,
            placeholder="tabby, kitten, striped cat",
            details="Each is tried on a fixed set of images and noise before the first step, which takes seconds. The run's "
            "notes list the loss of every candidate.",
        ),
    )
    encoders: Literal["all", "clip_l", "clip_g"] = field(
        default="all",
        metadata=option(
            "Text encoders",
            "The text encoders whose vectors are trained; SDXL has two.",
            "What to learn",
            choice_labels=("All", "CLIP-L", "OpenCLIP-bigG"),
        ),
    )
    seed: int = field(
        default=0,
        metadata=option(
            "Seed",
            "The same seed gives the same result.",
            "What to learn",
            low=0,
            high=MAX_SEED,
            new_row=True,
            details="Determines noise, timesteps, the order of images and the choice of captions.",
        ),
    )
    width: int = field(
        default=0,
        metadata=option(
            "Width",
            "In pixels; 0 uses the native size of the checkpoint.",
            "Images",
            low=0,
            high=4096,
            multiple_of=8,
            unit="pixels",
            details="With aspect ratio bucketing, width × height sets how many pixels the images have.",
        ),
    )
    height: int = field(
        default=0,
        metadata=option(
            "Height",
            "In pixels; 0 uses the native size of the checkpoint.",
            "Images",
            low=0,
            high=4096,
            multiple_of=8,
            unit="pixels",
        ),
    )
    buckets: bool = field(
        default=True,
        metadata=option(
            "Aspect ratio bucketing",
            "Resizes each image to a size close to its own aspect ratio instead of width × height.",
            "Images",
            new_row=True,
            details="The sizes lie between 2:5 and 5:2 and have no more pixels than width × height, so little is cut off. A "
            "batch contains images of one size; over the whole run every image is used equally often.",
        ),
    )
    resize_mode: ResizeMode = field(
        default="crop",
        metadata=option(
            "Resize mode",
            "Crop and resize cuts off the edges; Just resize distorts the image.",
            "Images",
            choice_labels=("Crop and resize", "Just resize"),
        ),
    )
    random_flip: bool = field(
        default=False,
        metadata=option(
            "Random horizontal flip",
            "Mirrors images half of the time. Not for writing or asymmetric subjects.",
            "Images",
            details="Helps with few images.",
        ),
    )
    masks: MaskSource = field(
        default="auto",
        metadata=option(
            "Masks",
            "Weights the loss by NAME-masklabel.png, white for what counts, or by the transparency of the image.",
            "Images",
            new_row=True,
            choice_labels=("File, else transparency", "Transparency", "File", "None"),
            details="A mask file lies next to `NAME.jpg`, as `NAME-masklabel.png` or in the format of the image, in any size"
            " with the same aspect ratio. Transparent areas are trained as white. Every image has the same weight, "
            "however large its mask; a mask that is all white, all black or all one gray has no effect.",
        ),
    )
    unmasked_weight: float = field(
        default=0.1,
        metadata=option(
            "Unmasked weight",
            "Weight of the areas outside the mask, from 0 to 1.",
            "Images",
            low=0.0,
            high=1.0,
            details="A little keeps the surroundings intact.",
        ),
    )
    repeats: bool = field(
        default=False,
        metadata=option(
            "Repeats from folder names",
            "Includes subfolders such as 3_faces, whose images are used three times as often.",
            "Images",
            new_row=True,
            details="From 1 to 100 times. Other subfolders are never searched.",
        ),
    )
    cache_latents_to_disk: bool = field(
        default=True,
        metadata=option(
            "Cache latents to disk",
            "The next run on the same images starts sooner.",
            "Images",
            details="The cache is the folder `latents/` next to the runs; it takes at most 4 GB, and the least recently used"
            " latents are deleted first. An image is encoded again when the image, its mask, its size or the VAE has"
            " changed. You can delete the folder at any time. Images can be reconstructed from latents: switch this "
            "off where that matters.",
        ),
    )
    latent_sampling: LatentSampling = field(
        default="deterministic",
        metadata=option(
            "Latent sampling",
            "The mean of the VAE's posterior, one sample of it, or a new sample at each step.",
            "Images",
            choice_labels=("Mean", "Once", "Each step"),
        ),
    )
    template: tuple[str, ...] = field(
        default=DEFAULT_TEMPLATE,
        metadata=option(
            "Caption lines",
            "One line is drawn for each image. [name] is the trigger, [filewords] the image's text file or file name; "
            "{red|blue} draws one alternative.",
            "Captions",
            unit="line",
            details="The text file is `NAME.txt` next to the image; a file name is used without leading digits. Describe "
            "what is not part of your subject: the embedding does not learn what the captions say. A caption without"
            " the trigger gets it in front. On the command line, the name of a caption template may stand in place "
            "of a line.",
        ),
    )
    shuffle_caption: bool = field(
        default=False,
        metadata=option(
            "Shuffle tags",
            "Shuffles the comma-separated tags of [filewords].",
            "Captions",
            new_row=True,
            details="A weighted group such as `(red, blue:1.2)` is one tag.",
        ),
    )
    caption_tag_dropout_rate: float = field(
        default=0.0,
        metadata=option(
            "Tag dropout",
            "Probability of dropping each tag of [filewords], from 0 to 1.",
            "Captions",
            low=0.0,
            high=1.0,
            details="The trigger is never dropped.",
        ),
    )
    keep_tokens: int = field(
        default=0,
        metadata=option(
            "Keep first N tags",
            "The first tags of [filewords], which are neither shuffled nor dropped.",
            "Captions",
            low=0,
            high=1000,
            unit="tags",
        ),
    )
    timesteps: TimestepSampling = field(
        default="shifted",
        metadata=option(
            "Timestep sampling",
            "Shifted learns a subject sooner; Uniform is what the WebUI does.",
            "Optimization",
            choice_labels=("Shifted", "Stratified", "Uniform"),
            details="*Shifted* draws most timesteps from the middle of the schedule (0.5 to 0.9), where a subject is "
            "learned. *Stratified* spreads each batch evenly over all timesteps. *Uniform* draws each one "
            "independently.",
        ),
    )
    timestep_focus: float = field(
        default=0.8,
        metadata=option(
            "Share of mid timesteps",
            "With Shifted, the share drawn from the middle of the schedule, from 0 to 1.",
            "Optimization",
            low=0.0,
            high=1.0,
        ),
    )
    optimizer: OptimizerName = field(
        default="adamw",
        metadata=option(
            "Optimizer",
            "AdamW; Direction, which keeps the norm of each vector; or Prodigy, which finds its own rate.",
            "Optimization",
            new_row=True,
            choice_labels=("AdamW", "Direction", "Prodigy"),
            details="*Direction* (Directional Textual Inversion) rotates the vectors only, so that they stay similar to "
            "words and leave other words their effect; use a learning rate of 0.01. *Prodigy* needs the package "
            "`prodigyopt` and a learning rate of 1.",
        ),
    )
    loss: LossName = field(
        default="mse",
        metadata=option(
            "Loss",
            "Huber is less sensitive to outliers.",
            "Optimization",
            choice_labels=("MSE", "Huber"),
            details="Huber is the pseudo-Huber loss.",
        ),
    )
    gradient_accumulation_steps: int = field(
        default=1,
        metadata=option(
            "Gradient accumulation steps",
            "Batches per optimizer step.",
            "Optimization",
            low=1,
            high=256,
            unit="batches",
            new_row=True,
            details="Batch size 4 with 2 accumulation steps learns like batch size 8, in the memory of 4.",
        ),
    )
    lr_warmup_steps: int = field(
        default=0,
        metadata=option(
            "LR warmup steps",
            "Steps over which the learning rate rises to its value.",
            "Optimization",
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    max_grad_norm: float = field(
        default=0.0,
        metadata=option(
            "Max gradient norm",
            "Clips the gradient to this norm; 0 disables clipping.",
            "Optimization",
            low=0.0,
            high=1e6,
            unit="norm",
        ),
    )
    min_snr_gamma: float = field(
        default=0.0,
        metadata=option(
            "Min-SNR gamma",
            "Weights timesteps by their signal-to-noise ratio, usually with 5; 0 disables it.",
            "Optimization",
            low=0.0,
            high=1e6,
            unit="gamma",
            new_row=True,
            details="Lowers the weight of timesteps with little noise; use it with *Uniform* or *Stratified* timesteps.",
        ),
    )
    core_loss_weight: float = field(
        default=0.0,
        metadata=option(
            "CoRe loss weight",
            "Preserves the meaning of the other words in a prompt, such as with 0.00015; 0 disables it.",
            "Optimization",
            low=0.0,
            high=1e3,
            unit="weight",
            details="Context regularization (CoRe): the output of the text encoder for the other words stays as it was at "
            "the start. Costs one pass of the text encoder per step.",
        ),
    )
    eval_every: int = field(
        default=12,
        metadata=option(
            "Evaluate every",
            "Steps between evaluations of the loss on fixed noise; 0 disables them.",
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
            details="Early stopping and the best step need them. See [how a run stops](early-stopping.md).",
        ),
    )
    early_stopping: bool = field(
        default=True,
        metadata=option("Early stopping", "Ends the run when the evaluation loss has plateaued.", "Stopping"),
    )
    min_steps: int = field(
        default=0,
        metadata=option(
            "Minimum steps",
            "Early stopping does not end the run before this step.",
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    lr_cooldown_steps: int = field(
        default=30,
        metadata=option(
            "LR cooldown steps",
            "Steps at the end over which the learning rate falls to 0.",
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
            new_row=True,
            details="At most a quarter of the run.",
        ),
    )
    ema_decay: float = field(
        default=0.9,
        metadata=option(
            "EMA decay",
            "Decay of the moving average of the vectors, which is evaluated and saved; 0 disables it.",
            "Stopping",
            low=0.0,
            high=0.9999,
            unit="decay",
        ),
    )
    keep: KeptVectors = field(
        default="best",
        metadata=option(
            "Keep vectors",
            "The vectors with the best evaluation loss, or the last ones.",
            "Stopping",
            choice_labels=("Best", "Last"),
        ),
    )
    save_every: int = field(
        default=100,
        metadata=option(
            "Save every",
            "Steps between snapshots; 0 saves only at the end.",
            "Snapshots and previews",
            changeable_on_resume=True,
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    preview_every: int = field(
        default=100,
        metadata=option(
            "Preview every",
            "Steps between previews; 0 disables them.",
            "Snapshots and previews",
            changeable_on_resume=True,
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    preview_prompt: str = field(
        default="[name]",
        metadata=option(
            "Preview prompts",
            "One prompt per line; [name] is the trigger.",
            "Snapshots and previews",
            changeable_on_resume=True,
            multiline=True,
            new_row=True,
        ),
    )
    preview_negative_prompt: str = field(
        default="",
        metadata=option(
            "Preview negative prompt",
            "[name] is the trigger.",
            "Snapshots and previews",
            changeable_on_resume=True,
            multiline=True,
        ),
    )
    preview_seed: int = field(
        default=1,
        metadata=option(
            "Preview seed",
            "The same for all previews, so that you can compare them.",
            "Snapshots and previews",
            changeable_on_resume=True,
            low=0,
            high=MAX_SEED,
            new_row=True,
        ),
    )
    preview_steps: int = field(
        default=20,
        metadata=option(
            "Preview sampling steps",
            "Sampling steps of a preview.",
            "Snapshots and previews",
            changeable_on_resume=True,
            low=1,
            high=150,
            unit="steps",
        ),
    )
    preview_guidance: float = field(
        default=7.0,
        metadata=option(
            "Preview CFG scale",
            "Classifier-free guidance scale of a preview.",
            "Snapshots and previews",
            changeable_on_resume=True,
            low=0.0,
            high=100.0,
            unit="scale",
        ),
    )

    def __post_init__(self) -> None:
        for one in OPTIONS:
            check_option(one, getattr(self, one.name))
        check_name(self.embedding)
        check_learning_rate(self.learning_rate)
        check_candidates(self.candidates)
        check_template(self.template)
        if self.distills and self.dataset:
            raise InvalidSpec("A run learns from images or from a prompt, not from both.", "Leave one of them empty.")

    @property
    def distills(self) -> bool:
        """Whether the run learns from a prompt instead of images."""
        return bool(self.teacher_prompt.strip())

    def trained_encoders(self, available: Iterable[str]) -> list[str]:
        """Return those of the checkpoint's text encoders whose vectors are trained.

        Raises:
            InvalidSpec: It is none of them.
        """
        keys = list(available)
        chosen = [key for key in keys if self.encoders in ("all", key)]
        if not chosen:
            raise InvalidSpec(f"The checkpoint has no text encoder {self.encoders}.", f"It has {' and '.join(keys)}.")
        return chosen

    def candidate_words(self) -> list[str]:
        """Return the words and phrases to try as a start."""
        return [word.strip() for word in self.candidates.split(",") if word.strip()]

    def preview_prompts(self) -> list[str]:
        """Return the prompts of the previews, at least one."""
        return [line.strip() for line in self.preview_prompt.splitlines() if line.strip()] or ["[name]"]

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON values, which `from_json` turns into an equal spec."""
        return {**dataclasses.asdict(self), "template": list(self.template)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingSpec:
        """Build a spec from JSON values, of which options may have the names of earlier versions.

        Args:
            values: What differs from the preset they name under "preset", or else from the default one.

        Raises:
            InvalidSpec: For an unknown or missing option, one given under two names, an unknown preset or a wrong value.
        """
        given = _from_json_types(_known_names(values))
        _check_needed(given)
        for one in OPTIONS:
            if one.name in given:
                check_option(one, given[one.name])
        merged: dict[str, Any] = {"dataset": "", **preset_values(given.get("preset", "Fast")), **given}
        return cls(**merged)


OPTIONS = options_of(TrainingSpec)
"Every option of a training run."


def _known_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values under the names of today. Raises InvalidSpec for a name that no option has or had."""
    for old, new in RENAMED_FIELDS.items():
        if old in values and new in values:
            raise InvalidSpec(f"{old} is the old name of {new}, and both are given.", f"Leave {old} out.")
    renamed = with_current_names(values)
    known = {one.name for one in OPTIONS}
    unknown = sorted(set(renamed) - known)
    if unknown:
        named = ", ".join(map(repr, unknown))
        raise InvalidSpec(f"A training run has no option {named}.", f"It has {', '.join(sorted(known))}.")
    return renamed


def _check_needed(given: dict[str, Any]) -> None:
    teacher = given.get("teacher_prompt")
    needed = ("embedding",) if isinstance(teacher, str) and teacher.strip() else ("embedding", "dataset")
    missing = [name for name in needed if not given.get(name)]
    if missing:
        raise InvalidSpec(
            f"A training run needs {' and '.join(missing)}.",
            "Instead of a dataset, teacher_prompt gives a prompt to pack." if "dataset" in missing else "",
        )


def _from_json_types(given: dict[str, Any]) -> dict[str, Any]:
    """Turn numbers into text for the learning rate, and text or a list of lines into the tuple of the caption template."""
    converted = dict(given)
    rate = given.get("learning_rate")
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        converted["learning_rate"] = repr(rate)
    lines = given.get("template")
    if isinstance(lines, str):
        lines = lines.splitlines()
    if isinstance(lines, list | tuple):
        converted["template"] = _stripped(cast("list[object]", lines))
    return converted


def _stripped(lines: Iterable[object]) -> tuple[object, ...]:
    """Return the lines without spaces around them and without empty ones; what is not text stays, to be refused."""
    texts = [line.strip() if isinstance(line, str) else line for line in lines]
    return tuple(text for text in texts if text != "")


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
