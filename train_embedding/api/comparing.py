"""Routes that compare the steps of a run or several embeddings, and make a step the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, BODY_IF_ANY, answer, check_fields, documented, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg
from train_embedding.services.comparing import GridOptions

if TYPE_CHECKING:
    from train_embedding.services import Services

_TEXTS = {"type": "array", "items": {"type": "string"}}
_OPTION_FIELDS: dict[str, dict[str, Any]] = {
    "prompts": {**_TEXTS, "description": "The columns. [name] is the trigger word. By default those of the run's previews."},
    "negative_prompt": {"type": "string"},
    "seed": {"type": "integer"},
    "sampling_steps": {"type": "integer"},
    "guidance": {"type": "number", "description": "CFG scale."},
    "width": {"type": "integer", "description": "In pixels. 0: the native size of the checkpoint."},
    "height": {"type": "integer"},
}
_STEP_FIELDS: dict[str, dict[str, Any]] = {
    "steps": {
        "type": "array",
        "items": {"type": "integer"},
        "description": "The rows, 0 for the start. By default some of the steps whose vectors were kept, evenly spaced.",
    },
    **_OPTION_FIELDS,
}
_NAME_FIELDS: dict[str, dict[str, Any]] = {
    "embeddings": {**_TEXTS, "description": "The rows."},
    "runs": {**_TEXTS, "description": "More rows: the saved step of each of these runs, or else its last one."},
    **_OPTION_FIELDS,
}
_USE_FIELDS: dict[str, dict[str, Any]] = {"step": {"type": "integer", "description": "One of `GET /runs/{run_id}/steps`."}}
_UNDO_FIELDS: dict[str, dict[str, Any]] = {"trash_id": {"type": "string", "description": "As `POST …/use` returned it."}}
_PNG, _IMAGE_HEADERS = "image/png", {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=31536000, immutable"}


def add_comparing(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""
    _add_run_grids(router, services)
    _add_embedding_grids(router, services)


def _add_run_grids(router: APIRouter, services: Services) -> None:
    def list_steps(run_id: str) -> Response:
        """List the steps of a run whose vectors were kept, with the evaluation loss, and which of them the embedding has now."""
        return answer(services.comparing.steps(run_id))

    def compare_steps(run_id: str, values: Any = BODY_IF_ANY) -> Response:
        """Generate an image for each step and prompt in the background. Existing images are kept. Refused while a training run
        is active. Returns the grid; get it again to see its progress."""
        check_fields(values, _STEP_FIELDS)
        default = services.comparing.default_options(run_id)
        return answer(services.comparing.start(run_id, _options(values, default), _whole_numbers(values, "steps")))

    def get_comparison(run_id: str) -> Response:
        """Get the last grid of a run: its rows with the keys of their images, null for those that are still missing."""
        return answer(services.comparing.get(run_id))

    def stop_comparison(run_id: str) -> Response:
        """Stop after the current image. The same request again generates the rest."""
        return answer(services.comparing.stop(run_id))

    def get_comparison_image(run_id: str) -> Response:
        """Get the grid as one PNG file, with labels and a description of how it was made."""
        return Response(services.comparing.sheet(run_id), media_type=_PNG)

    def get_comparison_cell(run_id: str, key: str) -> Response:
        """Get an image of the grid as PNG."""
        return Response(services.comparing.cell(run_id, key), media_type=_PNG, headers=_IMAGE_HEADERS)

    def use_step(run_id: str, values: Any = BODY) -> Response:
        """Make the vectors of a step the embedding. The file that it replaces goes to the trash."""
        check_fields(values, _USE_FIELDS)
        return answer(services.comparing.use_step(run_id, _whole_number(values, "step")))

    def undo_use_step(run_id: str, values: Any = BODY) -> Response:
        """Restore the embedding file that a step replaced."""
        check_fields(values, _UNDO_FIELDS)
        return answer(services.comparing.undo_use(run_id, text_field(values, "trash_id")))

    example = {"prompts": ["a photo of [name]"], "seed": 1}
    add(router, "GET", "/runs/{run_id}/steps", list_steps)
    add(router, "POST", "/runs/{run_id}/comparison", compare_steps, documented(_STEP_FIELDS, [], example))
    add(router, "GET", "/runs/{run_id}/comparison", get_comparison)
    add(router, "POST", "/runs/{run_id}/comparison/stop", stop_comparison)
    add(router, "GET", "/runs/{run_id}/comparison/image", get_comparison_image)
    add(router, "GET", "/runs/{run_id}/comparison/cells/{key}", get_comparison_cell)
    add(router, "POST", "/runs/{run_id}/use", use_step, documented(_USE_FIELDS, ["step"], {"step": 120}))
    undo = documented(_UNDO_FIELDS, ["trash_id"], {"trash_id": "my-cat.20261130-120000"})
    add(router, "POST", "/runs/{run_id}/use/undo", undo_use_step, undo)


def _add_embedding_grids(router: APIRouter, services: Services) -> None:
    def compare_embeddings(values: Any = BODY) -> Response:
        """Generate an image for each embedding or run and each prompt in the background, as for the steps of a run."""
        check_fields(values, _NAME_FIELDS)
        names, runs = _texts(values, "embeddings", ()), _texts(values, "runs", ())
        return answer(services.comparing.start_embeddings(names, _options(values, GridOptions()), runs))

    def get_embedding_comparison() -> Response:
        """Get the last grid of embeddings."""
        return answer(services.comparing.get(""))

    def stop_embedding_comparison() -> Response:
        """Stop after the current image. The same request again generates the rest."""
        return answer(services.comparing.stop(""))

    def get_embedding_comparison_image() -> Response:
        """Get the grid of embeddings as one PNG file."""
        return Response(services.comparing.sheet(""), media_type=_PNG)

    def get_embedding_comparison_cell(key: str) -> Response:
        """Get an image of the grid as PNG."""
        return Response(services.comparing.cell("", key), media_type=_PNG, headers=_IMAGE_HEADERS)

    example = {"embeddings": ["my-cat", "my-dog"], "prompts": ["a photo of [name]"]}
    add(router, "POST", "/comparison", compare_embeddings, documented(_NAME_FIELDS, [], example))
    add(router, "GET", "/comparison", get_embedding_comparison)
    add(router, "POST", "/comparison/stop", stop_embedding_comparison)
    add(router, "GET", "/comparison/image", get_embedding_comparison_image)
    add(router, "GET", "/comparison/cells/{key}", get_embedding_comparison_cell)


def _options(values: dict[str, Any], default: GridOptions) -> GridOptions:
    """Return the options in a body. Numbers are checked by the service."""
    return GridOptions(
        prompts=_texts(values, "prompts", default.prompts),
        negative_prompt=text_field(values, "negative_prompt", default.negative_prompt),
        **{name: values.get(name, getattr(default, name)) for name in ("seed", "sampling_steps", "guidance", "width", "height")},
    )


def _texts(values: dict[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = values.get(name, default)
    items: list[Any] = list(cast("list[Any]", value)) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(item, str) for item in items):
        raise InvalidInput(msg('"{name}" is {value}; it must be a list of texts.', name=name, value=short(value)))
    return tuple(items)


def _whole_numbers(values: dict[str, Any], name: str) -> tuple[int, ...]:
    value = values.get(name, ())
    items: list[Any] = list(cast("list[Any]", value)) if isinstance(value, list | tuple) else [None]
    if not all(_is_whole(item) for item in items):
        raise InvalidInput(msg('"{name}" is {value}; it must be a list of whole numbers.', name=name, value=short(value)))
    return tuple(items)


def _whole_number(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if not _is_whole(value):
        raise InvalidInput(msg('"{name}" is {value}; it must be a whole number.', name=name, value=short(value)))
    return cast("int", value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
