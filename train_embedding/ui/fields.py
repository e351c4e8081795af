"""The fields of a training run and the widgets that show them: one table, each field once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from train_embedding.engine.config import PRESETS, TrainingSpec, preset_values, with_current_names
from train_embedding.errors import InvalidInput, InvalidSpec

Make = Callable[..., Any]
"Makes a widget from `value` and gradio's `label`, `info` and `elem_id`."
Read = Callable[[str, Any], Any]
"Turns a widget's value into the field's; the first argument is the label, for sentences."


@dataclass(frozen=True)
class Field:
    name: str
    "The field of TrainingSpec; its widget's id is `te_train_` and this."
    label: str
    info: str
    make: Make
    read: Read

    @property
    def elem_id(self) -> str:
        return f"te_train_{self.name}"


def _text(placeholder: str = "", scale: int = 1) -> Make:
    def make(value: Any, **common: Any) -> gr.Textbox:
        return gr.Textbox(value, placeholder=placeholder, scale=scale, min_width=90, **common)

    return make


def _lines(value: Any, **common: Any) -> gr.Textbox:
    return gr.Textbox("\n".join(value), lines=5, max_lines=12, **common)


def _prompts(value: Any, **common: Any) -> gr.Textbox:
    return gr.Textbox(value, lines=2, max_lines=6, **common)


def _number(value: Any, **common: Any) -> gr.Number:
    return gr.Number(value, min_width=90, scale=1, **common)


def _checkbox(value: Any, **common: Any) -> gr.Checkbox:
    return gr.Checkbox(value, **common)


def _choice(*choices: tuple[str, str]) -> Make:
    def make(value: Any, **common: Any) -> gr.Radio:
        return gr.Radio(choices=list(choices), value=value, **common)

    return make


def _names(value: Any, **common: Any) -> gr.Dropdown:
    """Any name may be typed: the service says what is wrong with one that it does not know."""
    return gr.Dropdown(choices=[value] if value else [], value=value or None, allow_custom_value=True, scale=1, **common)


def _read_text(_label: str, value: Any) -> str:
    return "" if value is None else str(value)


def _read_stripped(label: str, value: Any) -> str:
    return _read_text(label, value).strip()


def _read_number(label: str, value: Any) -> Any:
    """gradio gives 400.0 for 400; what is no whole number goes on as it is, for the rules to judge."""
    if value is None or value == "":
        raise InvalidSpec(f'"{label}" is empty.', "Write a number.")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_as_is(_label: str, value: Any) -> Any:
    return value


FIELDS: tuple[Field, ...] = (
    Field("embedding", "Embedding", "The one to train.", _names, _read_stripped),
    Field("dataset", "Folder of pictures", "5 to 20 pictures of one thing or style.",
          _text("/home/me/pictures/my cat", scale=2), _read_stripped),
    Field("teacher_prompt", "Prompt to distil", "Instead of pictures: packs a long prompt into the embedding.",
          _prompts, _read_text),
    Field("candidates", "Candidate words",
          "Words or phrases with commas between: training starts from the best of them, if it is better than the embedding.",
          _text("tabby, kitten, striped cat"), _read_stripped),
    Field("encoders", "Text encoders", "Whose vectors are trained; a choice for SDXL, which has two.",
          _choice(("All", "all"), ("CLIP-L", "clip_l"), ("OpenCLIP-bigG", "clip_g")), _read_as_is),
    Field("preset", "Preset", "Fills in the values below, which you can still change.",
          _choice(*((name, name) for name in PRESETS)), _read_as_is),
    Field("steps", "Steps", "How long to train.", _number, _read_number),
    Field("learning_rate", "Learning rate", "A number, or 0.005:100, 1e-3:1000", _text(scale=2), _read_stripped),
    Field("batch_size", "Batch size", "Pictures per step.", _number, _read_number),
    Field("width", "Width", "0: the checkpoint's own.", _number, _read_number),
    Field("height", "Height", "0: the checkpoint's own.", _number, _read_number),
    Field("buckets", "Keep shapes", "Pictures keep about their shape instead of all becoming width × height.",
          _checkbox, _read_as_is),
    Field("resize_mode", "Fit", "How a picture gets its size: edges cut off, or the whole picture distorted.",
          _choice(("Crop", "crop"), ("Resize", "resize")), _read_as_is),
    Field("random_flip", "Mirror", "Half of the time; not for writing, or what has a left and a right.", _checkbox, _read_as_is),
    Field("repeats", "Repeated subfolders", "Pictures in a subfolder such as 3_faces come three times as often.",
          _checkbox, _read_as_is),
    Field("masks", "Masks", "What counts: NAME-masklabel.png beside a picture, white for what counts; or its transparency.",
          _choice(("File, else transparency", "auto"), ("Transparency", "alpha"), ("File", "file"), ("None", "none")),
          _read_as_is),
    Field("unmasked_weight", "Masked weight", "0 to 1: how much masked places still count.", _number, _read_number),
    Field("keep_tokens", "Keep tags", "First parts of [filewords] that are neither shuffled nor dropped.", _number, _read_number),
    Field("cache_latents_to_disk", "Keep latents", "On the disk, so that the next run on these pictures starts sooner.",
          _checkbox, _read_as_is),
    Field("template", "Caption lines",
          "One is drawn for each picture. [name] is the embedding, [filewords] the picture's text file or file name; "
          "of {red|blue} one is drawn.",
          _lines, _read_text),
    Field("shuffle_caption", "Shuffle tags", "Parts of [filewords] between commas come in random order.", _checkbox, _read_as_is),
    Field("caption_tag_dropout_rate", "Drop tags", "Chance, 0 to 1, of leaving each part of [filewords] out.",
          _number, _read_number),
    Field("timesteps", "Noise levels", "Shifted learns a thing sooner; uniform is what the WebUI does.",
          _choice(("Shifted", "shifted"), ("Stratified", "stratified"), ("Uniform", "uniform")), _read_as_is),
    Field("timestep_focus", "Focus", "0 to 1: share of the middle noise levels, with Shifted.", _number, _read_number),
    Field("latent_sampling", "Latent sampling", "How a picture becomes a latent: the mean, one sample, or a new one each step.",
          _choice(("Mean", "deterministic"), ("Once", "once"), ("Each step", "random")), _read_as_is),
    Field("optimizer", "Optimizer", "AdamW moves the vectors freely; direction turns them and keeps their length.",
          _choice(("AdamW", "adamw"), ("Direction", "direction"), ("Prodigy", "prodigy")), _read_as_is),
    Field("gradient_accumulation_steps", "Accumulation", "Batches per step.", _number, _read_number),
    Field("lr_warmup_steps", "Warm-up", "Steps over which the rate rises.", _number, _read_number),
    Field("max_grad_norm", "Gradient clip", "Largest norm; 0: no limit.", _number, _read_number),
    Field("loss", "Loss", "With Huber, odd pictures count less.", _choice(("Squares", "mse"), ("Huber", "huber")), _read_as_is),
    Field("min_snr_gamma", "Min-SNR γ", "Usually 5; 0: off.", _number, _read_number),
    Field("core_loss_weight", "Context weight",
          "Keeps the say of the other words in a prompt, e.g. 0.00015; 0: off.", _number, _read_number),
    Field("ema_decay", "Average", "Decay of the running average that is evaluated and saved; 0: none.", _number, _read_number),
    Field("eval_every", "Evaluate every", "Steps between evaluations on fixed noise; 0: none.", _number, _read_number),
    Field("early_stopping", "Stop by itself", "When the evaluations have come to rest.", _checkbox, _read_as_is),
    Field("min_steps", "Not before step", "The run does not stop by itself before.", _number, _read_number),
    Field("lr_cooldown_steps", "Cool-down", "Last steps, with a falling rate.", _number, _read_number),
    Field("keep", "Keep", "The best evaluated vectors, or the last.", _choice(("Best", "best"), ("Last", "last")), _read_as_is),
    Field("seed", "Seed", "Same seed, same result.", _number, _read_number),
    Field("save_every", "Save every", "Steps between snapshots; 0: only at the end.", _number, _read_number),
    Field("preview_every", "Preview every", "Steps between previews; 0: none.", _number, _read_number),
    Field("preview_prompt", "Preview prompts", "One in each line; [name] is the embedding.", _prompts, _read_text),
    Field("preview_negative_prompt", "Preview negative prompt", "[name] is the embedding.", _text(), _read_text),
    Field("preview_seed", "Preview seed", "The same for all previews.", _number, _read_number),
    Field("preview_steps", "Preview steps", "Sampling steps.", _number, _read_number),
    Field("preview_guidance", "Preview CFG scale", "How closely it follows the prompt.", _number, _read_number),
)  # fmt: skip
BY_NAME = {field.name: field for field in FIELDS}
DEFAULTS: dict[str, Any] = {
    field.name: "" if field.default is dataclasses.MISSING else field.default for field in dataclasses.fields(TrainingSpec)
}


def initial_values(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of all fields, with the remembered values, under today's names or earlier ones, that have the right type."""
    values = {**DEFAULTS, **preset_values(DEFAULTS["preset"])}
    for name, value in with_current_names(remembered).items():
        if name in values and _fits(value, values[name]):
            values[name] = tuple(value) if name == "template" else value
    return {**values, "preset": values["preset"] if values["preset"] in PRESETS else DEFAULTS["preset"]}


def make_widget(name: str, values: Mapping[str, Any]) -> Any:
    field = BY_NAME[name]
    return field.make(values[name], label=field.label, info=field.info, elem_id=field.elem_id)


def shown(name: str, value: Any) -> Any:
    """A field's value as its widget takes it."""
    return "\n".join(value) if name == "template" else value


def read_spec(raw: Mapping[str, Any]) -> TrainingSpec:
    """Builds the spec from the values of all widgets, by field name. Raises InvalidInput with what a person should do."""
    values = {name: BY_NAME[name].read(BY_NAME[name].label, value) for name, value in raw.items()}
    if not values["embedding"]:
        raise InvalidInput("No embedding is chosen.", "Choose one, or create one at the left first.")
    if not values["dataset"] and not values["teacher_prompt"].strip():
        raise InvalidInput("No folder of pictures is given.", f'Write its path into "{BY_NAME["dataset"].label}".')
    return TrainingSpec.from_json(values)


def preset_updates(preset: str) -> dict[str, Any]:
    """The values of every field that some preset sets, as this one has them."""
    values = {**DEFAULTS, **preset_values(preset)}
    return {name: values[name] for name in _touched(PRESETS.values())}


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, tuple):
        return isinstance(value, list) and all(isinstance(line, str) for line in value)
    return type(value) is type(default) or (isinstance(default, float) and type(value) is int)


def _touched(presets: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({name for preset in presets for name in preset})
