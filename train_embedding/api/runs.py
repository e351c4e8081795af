"""Routes for datasets and training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, BODY_IF_ANY, answer, check_fields, documented, flag_field, text_field
from train_embedding.api.routing import add
from train_embedding.engine.config import CHANGEABLE_ON_RESUME, OPTIONS, Option, TrainingSpec

if TYPE_CHECKING:
    from train_embedding.services import Services

RUN_EXAMPLE = {"embedding": "my-cat", "dataset": "/home/me/images/my cat", "preset": "Fast", "steps": 200}


_TYPES = {"choice": "string", "text": "string", "flag": "boolean", "integer": "integer", "number": "number"}


def option_schema(option: Option) -> dict[str, Any]:
    """Return the JSON schema of an option of a training run, as OpenAPI 3.0 writes it."""
    lines = {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
    facts: dict[str, Any] = {
        "title": option.label,
        "description": f"{option.help} {option.details}".strip(),
        "enum": None if option.name == "preset" else list(option.choices) or None,  # it may be one of the user's
        "minimum": option.low,
        "maximum": option.high,
        "multipleOf": option.multiple_of if option.multiple_of > 1 else None,
        "default": list(option.default) if option.kind == "lines" else option.default,
    }
    shape = lines if option.kind == "lines" else {"type": _TYPES[option.kind]}
    return {**shape, **{name: value for name, value in facts.items() if value is not None}}


OPTION_SCHEMAS = {option.name: option_schema(option) for option in OPTIONS}
_DATASET_FIELDS: dict[str, dict[str, Any]] = {
    "folder": {"type": "string", "description": "Path of a folder of training images on the server."},
    "repeats": OPTION_SCHEMAS["repeats"],
    "masks": OPTION_SCHEMAS["masks"],
}


_NOTE_FIELDS: dict[str, dict[str, Any]] = {"note": {"type": "string", "description": "What the user writes about the run."}}


def add_runs(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""
    _add_checks(router, services)

    def list_runs(search: str = "") -> Response:
        """List training runs, newest first: all of them, or those in which each word of `search` occurs. `changed` has the
        options that differ from the preset, `samples` the number of images that were trained on, `note` the user's note."""
        return answer(services.runs.history(search))

    def list_trashed_runs() -> Response:
        """List the training runs in the trash, newest first. The last part of `folder` is the id to restore a run by."""
        return answer(services.runs.trashed())

    def restore_run(trash_id: str) -> Response:
        """Move a training run back from the trash."""
        return answer(services.runs.restore(trash_id))

    def start_run(values: Any = BODY) -> Response:
        """Start training in the background, with a preset, which may be one of yours, and the options that differ from it.
        Returns the state of the run, with its id. Options may have the names that they had in earlier versions."""
        return answer(services.runs.start(TrainingSpec.from_json(services.presets.resolved(values))).to_json())

    def get_run(run_id: str) -> Response:
        """Get a run: its status, step, steps, loss, rate, ETA, files and error, and what `GET /runs` adds to these."""
        return answer(services.runs.entry(run_id))

    def change_run(run_id: str, values: Any = BODY) -> Response:
        """Write the user's note about a run; an empty text removes it."""
        check_fields(values, _NOTE_FIELDS)
        return answer(services.runs.set_note(run_id, text_field(values, "note")))

    def delete_run(run_id: str) -> Response:
        """Move a run with its snapshots, previews and logs to the trash. The embedding stays as it is. Returns the id by which
        the run can be restored."""
        return answer({"deleted": run_id, "trash_id": services.runs.delete(run_id)})

    def get_run_images(run_id: str) -> Response:
        """List the images of a run with their sizes, captions and masks, and those that were skipped and why."""
        return answer(services.runs.images(run_id))

    def stop_run(run_id: str) -> Response:
        """Stop a run after its current step and keep the result."""
        return answer(services.runs.stop(run_id).to_json())

    def resume_run(run_id: str, values: Any = BODY_IF_ANY) -> Response:
        """Resume a run that was stopped, failed or interrupted. The result is bit-identical to that of an uninterrupted
        run."""
        return answer(services.runs.resume(run_id, values).to_json())

    changeable = {name: OPTION_SCHEMAS[name] for name in CHANGEABLE_ON_RESUME}
    add(router, "GET", "/runs", list_runs)
    add(router, "POST", "/runs", start_run, documented(OPTION_SCHEMAS, ["embedding"], RUN_EXAMPLE))
    add(router, "GET", "/runs/trash", list_trashed_runs)
    add(router, "POST", "/runs/trash/{trash_id}/restore", restore_run)
    add(router, "GET", "/runs/{run_id}", get_run)
    add(router, "PATCH", "/runs/{run_id}", change_run, documented(_NOTE_FIELDS, ["note"], {"note": "the best so far"}))
    add(router, "DELETE", "/runs/{run_id}", delete_run)
    add(router, "GET", "/runs/{run_id}/images", get_run_images)
    add(router, "POST", "/runs/{run_id}/stop", stop_run)
    add(router, "POST", "/runs/{run_id}/resume", resume_run, documented(changeable, [], {}))


def _add_checks(router: APIRouter, services: Services) -> None:
    """Add the routes for what can be known before a run."""

    def inspect_dataset(values: Any = BODY) -> Response:
        """Check a dataset before training: the number of images, captions and masks, which files are skipped and why, and
        warnings."""
        check_fields(values, _DATASET_FIELDS)
        folder, repeats = text_field(values, "folder"), flag_field(values, "repeats")
        return answer(services.datasets.inspect(folder, repeats, text_field(values, "masks", "auto")).to_json())

    def estimate_run(values: Any = BODY) -> Response:
        """Estimate a run before it is started: the most steps, the step at which early stopping may end it, the time, from
        steps that were measured on this computer, and the memory of the graphics card. Takes the values of `POST /runs`. `time`
        is null if no comparable training was measured, `memory` for a checkpoint that is not SD1, SD2 or SDXL, and on a CPU."""
        return answer(services.estimates.estimate(TrainingSpec.from_json(services.presets.resolved(values))))

    example = {"folder": RUN_EXAMPLE["dataset"]}
    add(router, "POST", "/datasets", inspect_dataset, documented(_DATASET_FIELDS, ["folder"], example))
    add(router, "POST", "/runs/estimate", estimate_run, documented(OPTION_SCHEMAS, ["embedding"], RUN_EXAMPLE))
