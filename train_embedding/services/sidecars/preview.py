"""The preview picture of an embedding: checked where it comes from a person, taken from a run, or drawn on the spot."""

from __future__ import annotations

from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import Conflict, HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.images.png import encode_png
from train_embedding.services.run_records import load_state
from train_embedding.services.sidecars.untrusted_images import SUFFIXES, check, contents_of, kind_of
from train_embedding.services.waiting import in_turn

DEFAULT_PROMPT = "[name]"
MAX_PROMPT = 10_000


def suffix_for(picture: bytes) -> str:
    """The suffix for a picture's file, once it has been decoded to the end. Raises UnreadableFile."""
    check(picture)
    return SUFFIXES[kind_of(picture)]


def last_preview(runs_folder: Path, run_id: str) -> bytes:
    """The newest preview that a run drew. Raises NotFound, UnreadableFile."""
    folders = {folder.name: folder for folder in runs_folder.iterdir()} if runs_folder.is_dir() else {}
    try:
        state = load_state(folders[run_id])
    except (KeyError, OSError, ValueError) as error:
        raise NotFound(f'There is no run "{run_id}".') from error
    if not state.previews:
        raise NotFound(f'The run "{run_id}" has drawn no previews.')
    picture = state.folder / "previews" / state.previews[-1].name
    try:
        return contents_of(picture)
    except OSError as error:
        raise UnreadableFile(f'"{picture.name}" cannot be read: {error.strerror or error}.') from error


def drawn(host: Host, embedding: Embedding, prompt: str, seed: int = 1) -> bytes:
    """A PNG by the host's own generator, with [name] in the prompt standing for the embedding.

    Waits for the host's queue. Raises InvalidInput, Conflict for an embedding of another kind of model, HostFailed, Busy.
    """
    text = prompt.strip() or DEFAULT_PROMPT
    if len(text) > MAX_PROMPT:
        raise InvalidInput(f"The prompt has {len(text)} characters; at most {MAX_PROMPT} are allowed.")
    info = host.info()
    if not info.widths:
        raise HostFailed("No checkpoint is loaded.", "Load one, then draw.")
    if info.widths != embedding.widths:
        raise Conflict(
            f'"{embedding.name}" is for {model_of(embedding.widths)}; the loaded checkpoint is {model_of(info.widths)}.',
            "Load a checkpoint of that kind.",
        )
    side = info.resolution
    asked = text.replace("[name]", embedding.name)
    request = Txt2ImgRequest(asked, seed=seed, width=side, height=side, embeddings=(embedding,))
    with in_turn(host, f"Drawing a preview of {embedding.name}"):
        image = host.txt2img(request)
    return encode_png(image)
