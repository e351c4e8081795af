"""Routes for the training queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, count_field, documented
from train_embedding.api.routing import add
from train_embedding.api.runs import OPTION_SCHEMAS, RUN_EXAMPLE
from train_embedding.engine.config import TrainingSpec

if TYPE_CHECKING:
    from train_embedding.services import Services

_MOVE_FIELDS: dict[str, dict[str, Any]] = {
    "position": {"type": "integer", "minimum": 1, "description": "Place among the waiting jobs; 1 is the next."},
}


def add_queue(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def list_queue() -> Response:
        """List the jobs of the training queue in their order: for each its status (`waiting`, `running`, `interrupted`,
        `finished`, `stopped` or `failed`), its run, once it has started, and why it failed or is still waiting. `paused` says
        whether no further job starts."""
        return answer(services.queue.contents())

    def list_removed() -> Response:
        """List the jobs that were removed from the queue, newest first."""
        return answer(services.queue.removed())

    def add_to_queue(values: Any = BODY) -> Response:
        """Check a training job like `POST /runs`, and add it to the end of the queue. Returns the job, with its id."""
        return answer(services.queue.add(TrainingSpec.from_json(services.presets.resolved(values))))

    def get_queued(entry_id: str) -> Response:
        """Get a job of the queue."""
        return answer(services.queue.get(entry_id))

    def move_queued(entry_id: str, values: Any = BODY) -> Response:
        """Move a waiting job to another place."""
        check_fields(values, _MOVE_FIELDS)
        return answer(services.queue.move(entry_id, count_field(values, "position")))

    def remove_queued(entry_id: str) -> Response:
        """Remove a job from the queue; the current one must be stopped instead. Its run, if it had one, stays."""
        return answer(services.queue.remove(entry_id))

    def restore_queued(entry_id: str) -> Response:
        """Put a removed job at the end of the queue."""
        return answer(services.queue.restore(entry_id))

    def retry_queued(entry_id: str) -> Response:
        """Put a failed or stopped job at the end of the queue. If it had started, it is resumed."""
        return answer(services.queue.retry(entry_id))

    def pause_queue() -> Response:
        """Pause the queue: the current job continues to its end, and no other starts."""
        return answer(services.queue.pause())

    def continue_queue() -> Response:
        """Continue the queue after a pause. After a restart of the program, the queue is paused."""
        return answer(services.queue.proceed())

    def clear_queue() -> Response:
        """Remove the jobs that have ended. Their runs stay. Returns their number."""
        return answer({"removed": services.queue.clear_ended()})

    add(router, "GET", "/queue", list_queue)
    add(router, "POST", "/queue", add_to_queue, documented(OPTION_SCHEMAS, ["embedding"], RUN_EXAMPLE))
    add(router, "GET", "/queue/removed", list_removed)
    add(router, "POST", "/queue/removed/{entry_id}/restore", restore_queued)
    add(router, "POST", "/queue/pause", pause_queue)
    add(router, "POST", "/queue/continue", continue_queue)
    add(router, "POST", "/queue/clear", clear_queue)
    add(router, "GET", "/queue/{entry_id}", get_queued)
    add(router, "DELETE", "/queue/{entry_id}", remove_queued)
    add(router, "POST", "/queue/{entry_id}/move", move_queued, documented(_MOVE_FIELDS, ["position"], {"position": 1}))
    add(router, "POST", "/queue/{entry_id}/retry", retry_queued)
