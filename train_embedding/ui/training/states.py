"""What the first and the third step say of the fields: the chosen embedding, what is missing, and the estimate of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from train_embedding.errors import NotFound, TrainEmbeddingError
from train_embedding.messages import msg
from train_embedding.services.kinds import Kind, used_values
from train_embedding.ui import fields
from train_embedding.ui.training import html

if TYPE_CHECKING:
    import gradio as gr
    from markupsafe import Markup

    from train_embedding.services import Services

Updates = dict[Any, Any]
ESTIMATED = (
    "steps", "learning_rate", "batch_size", "width", "height", "gradient_accumulation_steps", "eval_every", "early_stopping",
    "lr_scheduler", "min_steps", "preview_every", "preview_prompt", "preview_steps", "teacher_prompt",
)  # fmt: skip
"The options that change the estimate."
NO_EMBEDDING = msg("Choose or create an embedding.")
_ANY = "any"
"Stands for an embedding and a dataset in an estimate, which depends on neither."


def embedding_state(services: Services, name: str | None) -> Markup:
    """Return the state of the first step."""
    if not (name or "").strip():
        return html.state("open", NO_EMBEDDING)
    try:
        return html.embedding_state(services.library.get(str(name).strip()))
    except NotFound:
        return html.state("bad", msg('There is no embedding "{name}". Create it below.', name=str(name)))
    except TrainEmbeddingError as problem:
        return html.state("bad", problem.message)


def training_state(services: Services, kind: Kind | None, raw: Mapping[str, Any]) -> Markup:
    """Return the state of the third step, given the kind and the values of the widgets by option."""
    run = services.runs.current()
    if run is not None and run.active:
        text = msg("Training {name}. The next training can be added to the queue.", name=run.embedding)
        return html.state("open", text, live=True)
    if reason := services.host.info().why_no_training:
        return html.state("bad", reason)
    if not raw["embedding"]:
        return html.state("open", msg("Choose an embedding in step 1 first."))
    if kind == "prompt" and not str(raw["teacher_prompt"] or "").strip():
        return html.state("open", msg("Enter the prompt to pack in step 2 first."))
    if kind != "prompt" and not raw["dataset"]:
        return html.state("open", msg("Choose images in step 2 first."))
    return html.state("done", msg("Ready to train {name}.", name=raw["embedding"]))


def estimate(services: Services, raw: Mapping[str, Any]) -> Markup | str:
    """Return the estimate of a run; empty for values that are not allowed, and before a checkpoint is loaded.

    Args:
        services: Would train.
        raw: The values of all widgets, by option.
    """
    from train_embedding.services.training import describe_estimate

    if not services.host.info().widths:
        return ""
    teacher_prompt = str(raw["teacher_prompt"] or "").strip()
    try:
        spec = fields.read_spec({**raw, "embedding": _ANY, "dataset": "" if teacher_prompt else _ANY})
        return html.estimate(describe_estimate(services.estimates.estimate(spec)))
    except TrainEmbeddingError:  # the button says what is wrong
        return ""


def shower(
    services: Services, widgets: Mapping[str, Any], kind: gr.Radio, embedding: gr.HTML, training: gr.HTML, estimated: gr.HTML
) -> Callable[[dict[Any, Any]], Updates]:
    """Return a handler that shows the states and the estimate; its inputs are the kind and all widgets of options."""

    def show_states(values: dict[Any, Any]) -> Updates:
        raw = used_values(values[kind], {name: values[widget] for name, widget in widgets.items()})
        return {
            embedding: embedding_state(services, raw["embedding"]),
            training: training_state(services, values[kind], raw),
            estimated: estimate(services, raw),
        }

    return show_states
