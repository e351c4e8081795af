"""Mounting gradio in the app, with the file checks that only its own `launch` enables."""

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

from train_embedding.translations import t

MAX_UPLOAD = 512 * 2**20
"Largest uploaded file in bytes: a zip archive of images."
_FOLDER_VARIABLE = "GRADIO_TEMP_DIR"
"Names the folder for uploaded and shown files; gradio's components read it when they are created."
_WANTED: dict[str, Any] = {
    "allowed_paths": [],
    "blocked_paths": [],
    "show_error": False,
    "max_file_size": MAX_UPLOAD,
    "ssr_mode": False,
    "enable_monitoring": False,
    "run_history": False,
}
"Arguments of `mount_gradio_app`, as far as the installed version has them."


@contextmanager
def private_folder() -> Generator[Path, None, None]:
    """Provide a private folder for gradio's files, instead of the one that all gradio programs on the machine share."""
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
    """Mount gradio at "/" so that it serves and reads only files in `folder`."""
    mount_gradio_app: Any = vars(gr)["mount_gradio_app"]  # its annotations are incomplete
    known = inspect.signature(mount_gradio_app).parameters
    mount_gradio_app(app, blocks, path="/", **{name: value for name, value in _WANTED.items() if name in known})
    # Unless this is set, which only `launch` does, gradio 4 and later read any path that a request contains.
    setattr(blocks, "has_launched", True)  # noqa: B010
    blocks.allowed_paths, blocks.blocked_paths = [], []
    for block in blocks.blocks.values():
        setattr(block, "async_move_resource_to_block_cache", _refusing_addresses(block))  # noqa: B010
    mounted = _mounted(app)
    # gradio 3 serves all files in its working directory.
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
    """Return gradio's own app; None if it is not mounted."""
    return next((route.app for route in app.routes if isinstance(route, Mount) and isinstance(route.app, App)), None)


def _refusing_addresses(block: Any) -> Any:
    """Refuse addresses: gradio 4 and later would fetch any URL that a request gives as a file."""
    keep = getattr(block, "async_move_resource_to_block_cache", None)

    async def keep_local_files(path: str | Path | None) -> str | None:
        if keep is None or "://" in str(path):
            raise gr.Error(t("Files cannot be fetched from URLs."))
        return await keep(path)

    return keep_local_files
