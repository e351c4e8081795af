"""The routes about training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, BODY_IF_ANY, answer, check_fields, documented, flag_field, text_field
from train_embedding.api.routing import add
from train_embedding.engine.config import TrainingSpec
from train_embedding.services.training import CHANGEABLE_ON_RESUME

if TYPE_CHECKING:
    from train_embedding.services import Services

_RUN_EXAMPLE = {"embedding": "my-cat", "dataset": "/home/me/pictures/my cat", "preset": "Fast", "steps": 200}


_DATASET_FIELDS: dict[str, dict[str, Any]] = {
    "folder": {"description": "A folder of training images on the server."},
    "repeats": {"description": "Whether subfolders such as 3_faces are searched too.", "default": False},
    "masks": {"description": "Which masks a run would use: auto, alpha, file or none.", "default": "auto"},
}


def add_runs(router: APIRouter, services: Services) -> None:
    def inspect_dataset(values: Any = BODY) -> Response:
        """What a folder of training images holds, before training: how many images, captions and masks, which files are left out
        and why, and what else is worth knowing, in sentences."""
        check_fields(values, _DATASET_FIELDS)
        folder, repeats = text_field(values, "folder"), flag_field(values, "repeats")
        return answer(services.datasets.inspect(folder, repeats, text_field(values, "masks", "auto")).to_json())

    def list_runs() -> Response:
        """Every training run, the newest first."""
        return answer([state.to_json() for state in services.runs.list()])

    def start_run(values: Any = BODY) -> Response:
        """Starts training in the background: a preset and what differs from it. Answers the run's state, with its id."""
        return answer(services.runs.start(TrainingSpec.from_json(values)).to_json())

    def get_run(run_id: str) -> Response:
        """A run's status, step, steps, loss, rate, ETA, files and error."""
        return answer(services.runs.get(run_id).to_json())

    def get_run_pictures(run_id: str) -> Response:
        """Which pictures a run used, at which size and with which caption and mask, and which it did not and why."""
        return answer(services.runs.pictures(run_id))

    def stop_run(run_id: str) -> Response:
        """Ends a run after its current step and keeps the result."""
        return answer(services.runs.stop(run_id).to_json())

    def resume_run(run_id: str, values: Any = BODY_IF_ANY) -> Response:
        """Goes on with a run that was stopped, failed or interrupted, to the same vectors as if it had never ended."""
        return answer(services.runs.resume(run_id, values).to_json())

    defaults = TrainingSpec.from_json(_RUN_EXAMPLE).to_json()
    properties = {name: {"default": value} for name, value in defaults.items() if name not in _RUN_EXAMPLE}
    properties.update({name: {} for name in _RUN_EXAMPLE})
    changeable = {name: {"default": defaults[name]} for name in CHANGEABLE_ON_RESUME}
    example = {"folder": _RUN_EXAMPLE["dataset"]}
    add(router, "POST", "/datasets", inspect_dataset, documented(_DATASET_FIELDS, ["folder"], example))
    add(router, "GET", "/runs", list_runs)
    add(router, "POST", "/runs", start_run, documented(properties, ["embedding"], _RUN_EXAMPLE))
    add(router, "GET", "/runs/{run_id}", get_run)
    add(router, "GET", "/runs/{run_id}/pictures", get_run_pictures)
    add(router, "POST", "/runs/{run_id}/stop", stop_run)
    add(router, "POST", "/runs/{run_id}/resume", resume_run, documented(changeable, [], {}))
