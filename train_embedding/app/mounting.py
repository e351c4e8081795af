"""gradio's part of the app, with the checks of files that only gradio's own `launch` turns on."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
from gradio.routes import App
from starlette.routing import Mount

MAX_UPLOAD = 64 * 2**20
"Bytes of an uploaded file: more than any that is read here."
_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
"Where gradio keeps what was uploaded and what it shows; its components read it when they are made."
_WANTED: dict[str, Any] = {
    "allowed_paths": [],
    "blocked_paths": [],
    "show_error": False,
    "max_file_size": MAX_UPLOAD,
    "ssr_mode": False,
    "enable_monitoring": False,
    "run_history": False,
}
"What `mount_gradio_app` is told where it knows of it."


@contextmanager
def private_folder() -> Generator[Path, None, None]:
    """A folder of this process alone for gradio's files, in place of one that all gradio programs on the machine share."""
    before = os.environ.get(_FOLDER_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="train-embedding-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.environ[_FOLDER_VARIABLE] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[_FOLDER_VARIABLE]
            else:
                os.environ[_FOLDER_VARIABLE] = before


def mount(app: fastapi.FastAPI, blocks: gr.Blocks, folder: Path) -> None:
    """Mounts gradio at "/" so that it serves and reads files of `folder` alone."""
    mount_gradio_app: Any = vars(gr)["mount_gradio_app"]  # its annotations are incomplete
    known = inspect.signature(mount_gradio_app).parameters
    mount_gradio_app(app, blocks, path="/", **{name: value for name, value in _WANTED.items() if name in known})
    # gradio 4 and later read any path that a page names unless this is set, which only `launch` does.
    setattr(blocks, "has_launched", True)  # noqa: B010
    blocks.allowed_paths, blocks.blocked_paths = [], []
    for block in blocks.blocks.values():
        setattr(block, "async_move_resource_to_block_cache", _refusing_addresses(block))  # noqa: B010
    mounted = _mounted(app)
    # gradio 3 serves whatever lies in the folder that the program was started in.
    setattr(mounted, "cwd", str(folder))  # noqa: B010


def connect_queue(app: fastapi.FastAPI, address: str) -> str:
    """Tells gradio 3, whose queue calls the functions over HTTP, where this server is.

    By itself it would believe the first page that joins the queue. Returns the token that it shows; empty for later versions.
    """
    mounted = _mounted(app)
    queue: Any = getattr(getattr(mounted, "blocks", None), "_queue", None)
    if not hasattr(queue, "set_url"):
        return ""
    queue.set_url(address)
    return mounted.queue_token


def _mounted(app: fastapi.FastAPI) -> Any:
    """gradio's own app; None where it is not mounted."""
    return next((route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, App)), None)


def _refusing_addresses(block: Any) -> Any:
    """gradio 4 and later would fetch any address that a request names as a file, from this machine."""
    keep = getattr(block, "async_move_resource_to_block_cache", None)

    async def keep_local_files(path: str | Path | None) -> str | None:
        if keep is None or "://" in str(path):
            raise gr.Error("Files cannot be fetched from other addresses.")
        return await keep(path)

    return keep_local_files
