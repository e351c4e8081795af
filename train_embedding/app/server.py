"""The standalone web app: the tab beside a small txt2img page, and the HTTP API."""

from __future__ import annotations

import json
import logging
import socket
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import fastapi
import gradio as gr
import uvicorn
from fastapi.responses import FileResponse
from starlette.types import ASGIApp

from train_embedding.api import page_images, routes
from train_embedding.app import bodies, mounting, page
from train_embedding.app.access import EVERYWHERE, LOOPBACK, Access, bracketed
from train_embedding.app.connections import BoundedConnection
from train_embedding.app.guard import Guard
from train_embedding.app.languages import LanguageApps, OwnRequests, own_address
from train_embedding.errors import Conflict
from train_embedding.messages import msg
from train_embedding.translations import LANGUAGES, Language, in_language, translate
from train_embedding.ui import gradio_compat, tab

if TYPE_CHECKING:
    from train_embedding.services import Services

TITLE = msg("Train Embedding")
SHUTDOWN_SECONDS = 2
"Time for unfinished answers when the app ends."
print_at_once = partial(print, flush=True)
"Also reaches a program that reads the output through a pipe immediately."
STATIC = Path(__file__).parent / "static"
ROOT = Path(__file__).parents[2]
SCRIPTS = tuple(
    f"train_embedding{part}.js"
    for part in (
        "", "_accessibility", "_choosing", "_compare", "_dataset", "_dataset_editor", "_dropping", "_fields", "_library",
        "_presets", "_queue", "_runs", "_training",
    )
)  # fmt: skip
FILES = {
    "style.css": (STATIC / "style.css", ROOT / "style.css"),
    "page.css": (STATIC / "page.css",),
    **{name: (STATIC / name, ROOT / "javascript" / name) for name in SCRIPTS},
    "page.js": (STATIC / "page.js",),
}
"""Files that the page loads, with their place in a wheel and in a clone, whose root has the layout of a WebUI extension."""
_LOAD_FILES = """() => {
  const names = NAMES;
  for (const name of names.filter((name) => name.endsWith(".css"))) {
    const link = Object.assign(document.createElement("link"), {rel: "stylesheet", href: "train-embedding/static/" + name});
    document.head.append(link);
  }
  for (const name of names.filter((name) => name.endsWith(".js"))) {
    const script = Object.assign(document.createElement("script"), {src: "train-embedding/static/" + name, async: false});
    document.head.append(script);
  }
}""".replace("NAMES", json.dumps(list(FILES)))


def build(services: Services, language: Language = "en") -> gr.Blocks:
    """Build the page: a small txt2img page and the tab, with all texts in a language."""
    title = translate(TITLE, language)
    with in_language(language), gr.Blocks(title=title, analytics_enabled=False, **gradio_compat.CACHE) as blocks:
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("txt2img", id="txt2img", elem_id="tab_txt2img"):
                cards = page.render(services, blocks)
            with gr.Tab(title, id="train_embedding", elem_id="tab_train_embedding"):
                tab.render(services, cards)
        blocks.load(None, None, None, **gradio_compat.javascript(_LOAD_FILES), **gradio_compat.UNLISTED)
    gradio_compat.bind_language(blocks, language)
    return blocks


def application(services: Services, folder: Path, languages: Sequence[Language] = LANGUAGES) -> LanguageApps:
    """Make the app in some languages, of which each browser gets the one that it prefers.

    Args:
        services: What the pages and the API work on.
        folder: For gradio's files, as `mounting.private_folder` makes it.
        languages: The first is for browsers that prefer none of them.
    """
    return LanguageApps({language: _application(services, folder, language) for language in languages})


def connect_queues(apps: LanguageApps, address: str) -> tuple[str, ...]:
    """Tell the queues of gradio 3 where this server is; return the tokens that they show."""
    tokens = (mounting.connect_queue(app, own_address(address, language)) for language, app in apps.apps.items())
    return tuple(filter(None, tokens))


def _application(services: Services, folder: Path, language: Language) -> fastapi.FastAPI:
    app = fastapi.FastAPI(title=str(TITLE))
    routes.mount(app, services)
    page_images.mount_page_images(app, services)

    @app.get("/train-embedding/static/{name}", include_in_schema=False)
    def static(name: str) -> FileResponse:
        for file in FILES.get(name, ()):
            if file.exists():
                return FileResponse(file)
        raise fastapi.HTTPException(404)

    blocks = build(services, language)
    blocks.queue(**gradio_compat.QUEUE)
    mounting.mount(app, blocks, folder)
    return app


class _Server(uvicorn.Server):
    """Calls `ready` when connections are accepted, and `ended` when all are closed."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ended: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready, self._ended = ready, ended

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._ended()  # not after `run`: SIGTERM ends the process as soon as uvicorn has shut down


def serve(
    services: Services,
    port: int = 7860,
    access: Access | None = None,
    ready: Callable[[str], None] = print_at_once,
    languages: Sequence[Language] = LANGUAGES,
) -> None:
    """Serve until interrupted.

    Args:
        services: What the app works on.
        port: 0 for any free one.
        access: Who may connect; by default this machine only.
        ready: Gets a sentence that names the address, once the page can be opened there.
        languages: Of the page; each browser gets the one that it prefers.

    Raises:
        Conflict: The port is taken, or the address is not this machine's.
    """
    access = access or Access()
    with _listener(access.host, port) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        local = LOOPBACK if access.host in EVERYWHERE else access.host
        address = f"http://{bracketed(local)}:{port}/"
        apps = application(services, stack.enter_context(mounting.private_folder()), languages)
        guard = Guard(apps, access)
        guard.program_tokens = connect_queues(apps, address)
        _Server(_config(OwnRequests(guard)), lambda: ready(_sentence(address, port, access)), stack.close).run([listener])


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as problem:
        place = f"{bracketed(host)}:{port}"
        raise Conflict(
            msg("Cannot listen on {address}: {reason}.", address=place, reason=problem.strerror),
            msg("Choose another port with {option}.", option="--port"),
        ) from problem
    return listener


def _config(app: ASGIApp) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        log_level="warning",
        proxy_headers=False,
        backlog=64,  # asyncio accepts this many connections at once before `BoundedConnection` counts them
        ws_max_size=bodies.PAGE_BYTES,
        # gradio's pages keep a stream open as long as they are open.
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether an error of uvicorn is more than that the streams of open pages were cut when the app ended."""
    cut = record.exc_info is not None and isinstance(record.exc_info[1], CancelledError)
    return not cut and "timeout graceful shutdown exceeded" not in record.getMessage()


def _sentence(address: str, port: int, access: Access) -> str:
    token = f"?token={access.token}" if access.token else ""
    sentence = f"Running on {address}{token} (press Ctrl-C to stop)"
    if access.host in EVERYWHERE:
        sentence += f"\nFrom other machines: http://{socket.gethostname()}:{port}/{token}"
    return sentence
