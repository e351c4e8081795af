"""The options of a training run, as frozen data, and how they are resolved against a checkpoint.

Each option is declared only here: type, default, label, help, bounds and place in the tab. The rules, the tab, the command
line, the API's schema and the tables of options in the documentation are loops over `OPTIONS`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from train_embedding.embeddings.names import check_name
from train_embedding.engine.config.learning_rate import RateSchedule, parse_schedule
from train_embedding.engine.config.old_names import RENAMED_FIELDS, with_current_names
from train_embedding.engine.config.options import Option, option, options_of
from train_embedding.engine.config.presets import PresetName, preset_values
from train_embedding.engine.config.rules import check_candidates, check_learning_rate, check_option, check_template
from train_embedding.errors import InvalidOption, InvalidSpec
from train_embedding.messages import Message, joined, msg, plural, verbatim

TimestepSampling = Literal["shifted", "stratified", "uniform"]
LatentSampling = Literal["deterministic", "once", "random"]
ResizeMode = Literal["crop", "resize"]
MaskSource = Literal["auto", "alpha", "file", "none"]
OptimizerName = Literal["adamw", "direction", "prodigy"]
SchedulerName = Literal["constant", "linear", "cosine"]
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
    """The options of a training run. Steps count from 1 within the run."""

    embedding: str = field(
        metadata=option(
            msg("Embedding"),
            msg("The embedding to train."),
            "Basics",
            advanced=False,
            details="It must exist and fit the loaded checkpoint. Training continues from its vectors.",
        )
    )
    dataset: str = field(
        metadata=option(
            msg("Dataset folder"),
            msg("A folder of 5 to 20 images of one subject or style."),
            "Basics",
            advanced=False,
            wide=True,
            placeholder=verbatim("/home/me/images/my cat"),
            details="The path is on the computer that runs the training. A few images of the subject in different surroundings "
            "work better than many similar ones. Images that cannot be read are skipped and listed.",
        )
    )
    preset: PresetName = field(
        default="Fast",
        metadata=option(
            msg("Preset"),
            msg("Recommended values for the other options; you can still change each of them."),
            "Basics",
            advanced=False,
            new_row=True,
            details="*Fast*: batch size 2, 248 steps at most, usually half of them. *Quality*: batch size 8, 250 steps at most, "
            "usually half of them, and a new sample of each latent at every step. Both keep the norm of words, and the last step "
            "unless an earlier one is clearly better. *WebUI classic*: the settings of the WebUI's own trainer (batch size 1, a "
            "constant rate), for older tutorials.",
            choice_labels=(msg("Fast"), msg("Quality"), msg("WebUI classic")),
        ),
    )
    steps: int = field(
        default=248,
        metadata=option(
            msg("Steps"),
            msg("Optimizer steps at most. With early stopping, a run usually ends after half of them."),
            "Basics",
            low=1,
            high=MAX_STEPS,
            unit="steps",
            advanced=False,
            new_row=True,
            details="Early stopping or a learning rate schedule can end the run sooner.",
        ),
    )
    learning_rate: str = field(
        default="0.12",
        metadata=option(
            msg("Learning rate"),
            msg("A number, or a schedule such as 0.005:100, 1e-3:1000."),
            "Basics",
            unit="rate",
            advanced=False,
            wide=True,
            details="Schedules use the WebUI's syntax. This example is 0.005 up to step 100, then 0.001 up to step 1000, where "
            "the run ends.",
        ),
    )
    batch_size: int = field(
        default=2,
        metadata=option(msg("Batch size"), msg("Images per step."), "Basics", low=1, high=256, unit="images", advanced=False),
    )
    teacher_prompt: str = field(
        default="",
        metadata=option(
            msg("Pack a prompt (distillation)"),
            msg("Trains on a long prompt instead of images, and packs it into the embedding."),
            "What to learn",
            multiline=True,
            advanced=False,
            details="The vectors learn to give the same predictions as this prompt, which may be longer than 75 tokens. Use it "
            "to replace a long list of keywords by a short trigger word, in positive or negative prompts. Leave the "
            "dataset folder empty.",
        ),
    )
    choose_start_words: bool = field(
        default=True,
        metadata=option(
            msg("Complete the initialization text"),
            msg("Adds the word that describes your images best to the text that a new embedding starts from."),
            "What to learn",
            new_row=True,
            details="Before the first step, the loss of the initialization text with one more word is measured on your images "
            "with fixed noise, for up to 32 words: your candidates, words of the captions and file names, and common nouns, "
            'styles and materials. It takes no training and some seconds. If the number of vectors was "auto", the text alone '
            "and a word added to its vector are compared too, so training may start with one vector more or fewer. The ranking "
            "is listed with the run. Off: training starts from your text. An embedding without an initialization text always "
            "starts from the words with the lowest loss; one that was trained before keeps its vectors.",
        ),
    )
    candidates: str = field(
        default="",
        metadata=option(
            msg("Candidate words"),
            msg("Further words or phrases to start from, separated by commas; also for a trained embedding."),
            "What to learn",
            placeholder=msg("tabby, kitten, striped cat"),
            details="If one of them has a lower loss than the embedding, training starts from it.",
        ),
    )
    encoders: Literal["all", "clip_l", "clip_g"] = field(
        default="all",
        metadata=option(
            msg("Text encoders"),
            msg("Text encoders whose vectors are trained. SDXL has two."),
            "What to learn",
            choice_labels=(msg("All"), msg("CLIP-L"), msg("OpenCLIP-bigG")),
        ),
    )
    seed: int = field(
        default=0,
        metadata=option(
            msg("Seed"),
            msg("The same seed and options give the same result."),
            "What to learn",
            low=0,
            high=MAX_SEED,
            new_row=True,
            details="It sets the noise, the timesteps, the order of the images and the choice of captions.",
        ),
    )
    width: int = field(
        default=0,
        metadata=option(
            msg("Width"),
            msg("Training width in pixels. 0: the native size of the checkpoint."),
            "Images",
            low=0,
            high=4096,
            multiple_of=8,
            unit="pixels",
            details="With aspect ratio bucketing, width × height is the largest number of pixels of an image.",
        ),
    )
    height: int = field(
        default=0,
        metadata=option(
            msg("Height"),
            msg("Training height in pixels. 0: the native size of the checkpoint."),
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
            msg("Aspect ratio bucketing"),
            msg("Trains each image near its own aspect ratio instead of at width × height."),
            "Images",
            new_row=True,
            details="Aspect ratios range from 2:5 to 5:2, with at most width × height pixels, so that little is cropped. All "
            "images of a batch have the same size. Every image is used equally often over the whole run.",
        ),
    )
    resize_mode: ResizeMode = field(
        default="crop",
        metadata=option(
            msg("Resize mode"),
            msg("Crop and resize cuts off the edges. Just resize distorts the image."),
            "Images",
            choice_labels=(msg("Crop and resize"), msg("Just resize")),
        ),
    )
    random_flip: bool = field(
        default=False,
        metadata=option(
            msg("Random horizontal flip"),
            msg("Flips each image half of the time. Switch it off for text, logos and asymmetric subjects."),
            "Images",
            details="It helps with small datasets.",
        ),
    )
    masks: MaskSource = field(
        default="auto",
        metadata=option(
            msg("Masks"),
            msg("Limits the loss to the white areas of NAME-masklabel.png, or to the opaque areas of the image."),
            "Images",
            new_row=True,
            choice_labels=(msg("Mask file or transparency"), msg("Transparency"), msg("Mask file"), msg("No mask")),
            details="Save the mask of `NAME.jpg` next to it as `NAME-masklabel.png`, or in the format of the image, in any size "
            "with the same aspect ratio. Transparent areas become white. Every image has the same weight, however large "
            "its mask is. A mask of a single shade has no effect.",
        ),
    )
    unmasked_weight: float = field(
        default=0.1,
        metadata=option(
            msg("Unmasked weight"),
            msg("Loss weight of the areas outside the mask, from 0 to 1."),
            "Images",
            low=0.0,
            high=1.0,
            details="A small weight keeps the background consistent.",
        ),
    )
    repeats: bool = field(
        default=False,
        metadata=option(
            msg("Repeats from folder names"),
            msg("Includes subfolders named like 3_faces: their images are used 3 times as often."),
            "Images",
            new_row=True,
            details="The number may be 1 to 100. Other subfolders are not searched.",
        ),
    )
    cache_latents_to_disk: bool = field(
        default=True,
        metadata=option(
            msg("Cache latents to disk"),
            msg("Later runs on the same images start sooner."),
            "Images",
            details="The cache is the folder `latents/` next to the runs. It takes at most 4 GB; the least recently used latents "
            "are deleted first. An image is encoded again if it, its mask, its size or the VAE has changed. You can "
            "delete the folder at any time. Images can be reconstructed from their latents: switch this off if they are "
            "private.",
        ),
    )
    latent_sampling: LatentSampling = field(
        default="deterministic",
        metadata=option(
            msg("Latent sampling"),
            msg("Use the mean of the VAE's distribution, one sample of it, or a new sample in each step."),
            "Images",
            choice_labels=(msg("Mean"), msg("One sample"), msg("New sample each step")),
        ),
    )
    template: tuple[str, ...] = field(
        default=DEFAULT_TEMPLATE,
        metadata=option(
            msg("Caption lines"),
            msg(
                "A random line is used for each image. [name] is the trigger word, [filewords] the caption file or the file "
                "name; {red|blue} picks one at random."
            ),
            "Captions",
            unit="line",
            details="The caption file is `NAME.txt` next to the image; if there is none, the file name is used without leading "
            "digits. Describe what is not part of your subject: the embedding does not learn what the captions say. If a caption "
            "does not contain the trigger word, it is put in front. On the command line you can give the name of a "
            "caption template instead of a line.",
        ),
    )
    shuffle_caption: bool = field(
        default=False,
        metadata=option(
            msg("Shuffle tags"),
            msg("Shuffles the comma-separated tags of [filewords] in each step."),
            "Captions",
            new_row=True,
            details="A group with a weight, such as `(red, blue:1.2)`, counts as one tag.",
        ),
    )
    caption_tag_dropout_rate: float = field(
        default=0.0,
        metadata=option(
            msg("Tag dropout"),
            msg("Probability of dropping each tag of [filewords], from 0 to 1."),
            "Captions",
            low=0.0,
            high=1.0,
            details="The trigger word is never dropped.",
        ),
    )
    keep_tokens: int = field(
        default=0,
        metadata=option(
            msg("Keep first N tags"),
            msg("Number of tags at the start of [filewords] that are neither shuffled nor dropped."),
            "Captions",
            low=0,
            high=1000,
            unit="tags",
        ),
    )
    timesteps: TimestepSampling = field(
        default="stratified",
        metadata=option(
            msg("Timestep sampling"),
            msg("Stratified spreads each batch over all timesteps. Uniform works like the WebUI."),
            "Optimization",
            choice_labels=(msg("Shifted"), msg("Stratified"), msg("Uniform")),
            details="*Shifted* takes most timesteps from the middle of the schedule (0.5 to 0.9). "
            "*Stratified* spreads each batch evenly over all timesteps. *Uniform* draws each timestep independently.",
        ),
    )
    timestep_focus: float = field(
        default=0.8,
        metadata=option(
            msg("Share of mid timesteps"),
            msg("With Shifted: share of the timesteps from the middle of the schedule, from 0 to 1."),
            "Optimization",
            low=0.0,
            high=1.0,
        ),
    )
    optimizer: OptimizerName = field(
        default="direction",
        metadata=option(
            msg("Optimizer"),
            msg("Direction keeps the norm of each vector. Prodigy finds its own learning rate."),
            "Optimization",
            new_row=True,
            choice_labels=(msg("AdamW"), msg("Direction"), msg("Prodigy")),
            details="*Direction* (Directional Textual Inversion) only rotates the vectors: they stay similar to words, and other "
            "words of a prompt keep their influence. Each step turns them by the learning rate, in radians: use 0.12 with a "
            "falling rate. *AdamW* needs about 0.005. *Prodigy* needs the package `prodigyopt` and a learning rate of 1.",
        ),
    )
    loss: LossName = field(
        default="mse",
        metadata=option(
            msg("Loss"),
            msg("Huber is less sensitive to outliers."),
            "Optimization",
            choice_labels=(msg("MSE"), msg("Huber")),
            details="Huber is the pseudo-Huber loss.",
        ),
    )
    gradient_accumulation_steps: int = field(
        default=1,
        metadata=option(
            msg("Gradient accumulation steps"),
            msg("Batches per optimizer step. 2 or more act like a larger batch but need no more memory."),
            "Optimization",
            low=1,
            high=256,
            unit="batches",
            new_row=True,
            details="Batch size 4 with 2 accumulation steps learns like batch size 8 but needs the memory of batch size 4.",
        ),
    )
    lr_scheduler: SchedulerName = field(
        default="linear",
        metadata=option(
            msg("LR scheduler"),
            msg("Constant, or falling to 0 at the last step."),
            "Optimization",
            new_row=True,
            choice_labels=(msg("Constant"), msg("Linear"), msg("Cosine")),
            details="It multiplies the learning rate, also that of a schedule. With a constant rate, early stopping ends the run "
            "on a plateau. With a falling rate, the run ends at half of the steps or at the last one.",
        ),
    )
    lr_warmup_steps: int = field(
        default=0,
        metadata=option(
            msg("LR warmup steps"),
            msg("Steps at the start in which the learning rate rises to its full value."),
            "Optimization",
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    max_grad_norm: float = field(
        default=0.0,
        metadata=option(
            msg("Max gradient norm"),
            msg("Clips the gradient to this norm. 0: off."),
            "Optimization",
            low=0.0,
            high=1e6,
            unit="norm",
        ),
    )
    min_snr_gamma: float = field(
        default=0.0,
        metadata=option(
            msg("Min-SNR gamma"),
            msg("Weights the loss by the signal-to-noise ratio; 5 is common. 0: off."),
            "Optimization",
            low=0.0,
            high=1e6,
            unit="gamma",
            new_row=True,
            details="It lowers the weight of timesteps with little noise. Use it with *Uniform* or *Stratified* timesteps.",
        ),
    )
    core_loss_weight: float = field(
        default=0.0,
        metadata=option(
            msg("Context regularization (CoRe)"),
            msg("Preserves the influence of other words in a prompt; try 0.00015. 0: off."),
            "Optimization",
            low=0.0,
            high=1e3,
            unit="weight",
            details="Weight of a loss that keeps the output of the text encoder for the other words as it was at the start. It "
            "costs one pass of the text encoder per step.",
        ),
    )
    cuda_graphs: bool = field(
        default=False,
        metadata=option(
            msg("CUDA graphs"),
            msg("On NVIDIA GPUs: launches all kernels of a step at once. The result is the same."),
            "Optimization",
            changeable_on_resume=True,
            new_row=True,
            details="A step is recorded once for each size of images. If it cannot be recorded, the run continues without CUDA "
            "graphs, and a note says why. Between two steps, recordings keep the memory of a step, except while the WebUI "
            "generates images. It is off by default because it has been tested with a stand-in on the CPU only.",
        ),
    )
    eval_every: int = field(
        default=62,
        metadata=option(
            msg("Evaluate every"),
            msg("Steps between measurements of the evaluation loss (fixed noise). 0: off."),
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
            details="Early stopping and keeping the best vectors need it. See [how a run stops](early-stopping.md).",
        ),
    )
    early_stopping: bool = field(
        default=True,
        metadata=option(
            msg("Early stopping"),
            msg("Ends the run before its last step when the evaluation loss has plateaued."),
            "Stopping",
            details="With a falling learning rate, a run first trains half of its steps, over which the rate falls to 0. It ends "
            "there, unless the second half of them still lowered the evaluation loss. With a constant rate, it can end anywhere.",
        ),
    )
    min_steps: int = field(
        default=0,
        metadata=option(
            msg("Minimum steps"),
            msg("Early stopping never ends the run before this step."),
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
        ),
    )
    lr_cooldown_steps: int = field(
        default=0,
        metadata=option(
            msg("LR cooldown steps"),
            msg("Steps at the end in which the learning rate falls to 0."),
            "Stopping",
            low=0,
            high=MAX_STEPS,
            unit="steps",
            new_row=True,
            details="At most a quarter of the run.",
        ),
    )
    ema_decay: float = field(
        default=0.0,
        metadata=option(
            msg("EMA decay"),
            msg("Decay of the moving average of the vectors, which is evaluated and saved. 0: off."),
            "Stopping",
            low=0.0,
            high=0.9999,
            unit="decay",
        ),
    )
    keep: KeptVectors = field(
        default="best",
        metadata=option(
            msg("Keep vectors"),
            msg("Save the vectors with the lowest evaluation loss, or those of the last step."),
            "Stopping",
            choice_labels=(msg("Best"), msg("Last")),
        ),
    )
    save_every: int = field(
        default=100,
        metadata=option(
            msg("Save every"),
            msg("Steps between snapshots of the embedding. 0: save only at the end."),
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
            msg("Preview every"),
            msg("Steps between preview images. 0: off."),
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
            msg("Preview prompts"),
            msg("One prompt per line. [name] is the trigger word."),
            "Snapshots and previews",
            changeable_on_resume=True,
            multiline=True,
            new_row=True,
        ),
    )
    preview_negative_prompt: str = field(
        default="",
        metadata=option(
            msg("Preview negative prompt"),
            msg("[name] is the trigger word."),
            "Snapshots and previews",
            changeable_on_resume=True,
            multiline=True,
        ),
    )
    preview_seed: int = field(
        default=1,
        metadata=option(
            msg("Preview seed"),
            msg("All previews use the same seed, so that you can compare them."),
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
            msg("Preview sampling steps"),
            msg("Sampling steps of each preview."),
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
            msg("Preview CFG scale"),
            msg("Classifier-free guidance scale of each preview."),
            "Snapshots and previews",
            changeable_on_resume=True,
            low=0.0,
            high=100.0,
            unit="scale",
        ),
    )

    def __post_init__(self) -> None:
        for declared in OPTIONS:
            check_option(declared, getattr(self, declared.name))
        check_name(self.embedding)
        check_learning_rate(self.learning_rate)
        check_candidates(self.candidates)
        check_template(self.template)
        if self.distills and self.dataset:
            raise InvalidSpec(
                msg("A run trains on images or on a prompt, not on both."),
                msg("Leave one of them empty."),
            )

    @property
    def distills(self) -> bool:
        """Whether the run learns from a prompt instead of images."""
        return bool(self.teacher_prompt.strip())

    def trained_encoders(self, available: Iterable[str]) -> list[str]:
        """Return the text encoders whose vectors are trained.

        Args:
            available: Keys of the checkpoint's text encoders.

        Raises:
            InvalidSpec: The checkpoint does not have the chosen one.
        """
        keys = list(available)
        chosen = [key for key in keys if self.encoders in ("all", key)]
        if not chosen:
            raise InvalidSpec(
                msg("The checkpoint does not have the text encoder {encoder}.", encoder=choice_label("encoders", self.encoders)),
                msg(
                    'Set "{option}" to {encoders}.',
                    option=label_of("encoders"),
                    encoders=joined(choice_label("encoders", key) for key in keys),
                ),
            )
        return chosen

    def candidate_words(self) -> list[str]:
        """Return the words and phrases to try as starting points."""
        return [word.strip() for word in self.candidates.split(",") if word.strip()]

    def preview_prompts(self) -> list[str]:
        """Return the prompts of the previews, at least one."""
        return [line.strip() for line in self.preview_prompt.splitlines() if line.strip()] or ["[name]"]

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON values, which `from_json` turns into an equal spec."""
        return {**dataclasses.asdict(self), "template": list(self.template)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingSpec:
        """Build a spec from JSON values. Options may have the names of earlier versions.

        Args:
            values: What differs from the preset named under "preset", by default "Fast".

        Raises:
            InvalidSpec: An option is unknown, missing, given under two names or has a value that is not allowed, or the preset
                is unknown.
        """
        given = _from_json_types(_known_names(values))
        _check_needed(given)
        for declared in OPTIONS:
            if declared.name in given:
                check_option(declared, given[declared.name])
        merged: dict[str, Any] = {"dataset": "", **preset_values(given.get("preset", "Fast")), **given}
        return cls(**merged)


OPTIONS = options_of(TrainingSpec)
CHANGEABLE_ON_RESUME = tuple(declared.name for declared in OPTIONS if declared.changeable_on_resume)
"Names of the options that do not affect the trained vectors."
"Every option of a training run."


def label_of(name: str) -> Message:
    """Return the label of an option in the tab.

    Args:
        name: Of a field of `TrainingSpec`.
    """
    return _option(name).label


def choice_label(name: str, value: str) -> Message:
    """Return the label of an option's choice in the tab; a value without a label is its own.

    Args:
        name: Of a field of `TrainingSpec`.
        value: One of its choices.
    """
    return next((label for label, choice in _option(name).labelled_choices() if choice == value), verbatim(value))


def _option(name: str) -> Option:
    return next(declared for declared in OPTIONS if declared.name == name)


def _known_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values under the current names of the options. Raises InvalidSpec for an unknown name."""
    for old, new in RENAMED_FIELDS.items():
        if old in values and new in values:
            raise InvalidSpec(
                msg('"{old}" is the old name of "{new}", and both are given.', old=old, new=new),
                msg('Leave out "{old}".', old=old),
            )
    renamed = with_current_names(values)
    known = {declared.name for declared in OPTIONS}
    unknown = sorted(set(renamed) - known)
    if unknown:
        raise InvalidSpec(
            plural(
                "There is no option {names}.", "There are no options {names}.", len(unknown),
                names=joined(f'"{name}"' for name in unknown),
            ),
            msg("The options are {names}.", names=joined(sorted(known))),
        )  # fmt: skip
    return renamed


def _check_needed(given: dict[str, Any]) -> None:
    if not given.get("embedding"):
        raise InvalidOption("embedding", msg("is missing."), msg("Give the name of an existing embedding."))
    teacher = given.get("teacher_prompt")
    if not given.get("dataset") and not (isinstance(teacher, str) and teacher.strip()):
        raise InvalidOption(
            "dataset",
            msg("is missing."),
            msg('Give a folder of images, or a long prompt as "{option}".', option=label_of("teacher_prompt")),
        )


def _from_json_types(given: dict[str, Any]) -> dict[str, Any]:
    """Convert a number for the learning rate to text, and text or a list of lines for the caption template to a tuple."""
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
    """Strip spaces from lines and leave out empty ones. Values that are not text stay, and are refused later."""
    texts = [line.strip() if isinstance(line, str) else line for line in lines]
    return tuple(text for text in texts if text != "")


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec with all values that depend on the checkpoint.

    Attributes:
        spec: The options of the run.
        width: Training width in pixels.
        height: Training height in pixels.
        steps: Steps of the spec, or fewer if the rate schedule ends earlier.
        schedule: The learning rate over the steps.
        lr_cooldown_steps: Cooldown steps of the spec, or fewer in a short run.
    """

    spec: TrainingSpec
    width: int
    height: int
    steps: int
    schedule: RateSchedule
    lr_cooldown_steps: int

    @property
    def rate_falls(self) -> bool:
        """Whether the learning rate falls to 0 over the whole run."""
        return self.spec.lr_scheduler != "constant"

    def budget(self, extensions: int) -> int:
        """Return the last step of the budget: half of the steps, or all of them after an extension or without early stopping.

        Args:
            extensions: How often the budget has been doubled.
        """
        can_stop = self.spec.early_stopping and self.spec.eval_every and self.rate_falls
        if not can_stop or extensions:
            return self.steps
        return min(self.steps, max(-(-self.steps // 2), self.spec.min_steps))

    def budget_start(self, extensions: int) -> int:
        """Return the step after which the current budget began: 0, or the end of the one before it was doubled."""
        return self.budget(extensions - 1) if extensions else 0

    def can_extend(self, step: int, extensions: int) -> bool:
        """Return whether a step is the last one of a budget that can be doubled."""
        return step == self.budget(extensions) < self.budget(extensions + 1)

    def last_step(self, ending: int | None, extensions: int = 0) -> int:
        """Return the last step of the run.

        Args:
            ending: The last step that early stopping has set; None if it has not.
            extensions: How often the budget has been doubled.
        """
        budget = self.budget(extensions)
        return budget if ending is None else min(budget, ending)

    def rate(self, step: int, last: int, extensions: int = 0) -> float:
        """Compute the learning rate of a step: the schedule's, times the scheduler's factor, with linear warmup and cooldown.

        Args:
            step: Counted from 1.
            last: Last step of the run.
            extensions: How often the budget has been doubled; each time, the factor starts again at half of its last peak.
        """
        warm = min(1.0, step / (self.spec.lr_warmup_steps + 1))
        cool = min(1.0, (last - step + 1) / (self.lr_cooldown_steps + 1))
        return self.schedule.at(step) * warm * cool * self._falling_factor(step, last, extensions)

    def _falling_factor(self, step: int, last: int, extensions: int) -> float:
        if not self.rate_falls:
            return 1.0
        start = self.budget_start(extensions)
        done = min(1.0, (step - 1 - start) / max(1, last - start))
        remaining = 1 - done if self.spec.lr_scheduler == "linear" else (1 + math.cos(math.pi * done)) / 2
        return remaining * 0.5**extensions

    def evaluates_at(self, step: int, ending: int | None, extensions: int = 0) -> bool:
        """Return whether the evaluation loss is computed after a step.

        Args:
            step: Counted from 1.
            ending: The last step that early stopping has set; None if it has not.
            extensions: How often the budget has been doubled.
        """
        every = self.spec.eval_every
        return bool(every) and (step % every == 0 or step == self.last_step(ending, extensions))


def resolve(spec: TrainingSpec, resolution: int) -> ResolvedSpec:
    """Fill in what the spec leaves to the checkpoint.

    Args:
        spec: The options of the run.
        resolution: Native image size of the checkpoint in pixels, the side of a square.
    """
    schedule = parse_schedule(spec.learning_rate)
    steps = spec.steps if schedule.end is None else min(spec.steps, schedule.end)
    lr_cooldown_steps = min(spec.lr_cooldown_steps, steps // 4)
    return ResolvedSpec(spec, spec.width or resolution, spec.height or resolution, steps, schedule, lr_cooldown_steps)
