"""The preview image of an embedding: taken from a run, or generated now."""

from __future__ import annotations

from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import does_not_fit
from train_embedding.errors import Conflict, HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.images.png import encode_png
from train_embedding.services.run_records import load_state
from train_embedding.services.sidecars.untrusted_images import read_preview
from train_embedding.services.waiting import in_turn

DEFAULT_PROMPT = "[name]"
MAX_PROMPT = 10_000


def read_last_preview(runs_folder: Path, run_id: str) -> bytes:
    """Read the newest preview of a run.

    Raises:
        NotFound: There is no such run, or it has no previews.
        UnreadableFile: The file of the preview is gone or too large.
    """
    folders = {folder.name: folder for folder in runs_folder.iterdir()} if runs_folder.is_dir() else {}
    try:
        state = load_state(folders[run_id])
    except (KeyError, OSError, ValueError) as error:
        raise NotFound(f'There is no run "{run_id}".') from error
    if not state.previews:
        raise NotFound(f'The run "{run_id}" has no previews.')
    file = state.folder / "previews" / state.previews[-1].name
    try:
        return read_preview(file)
    except OSError as error:
        raise UnreadableFile(f'"{file.name}" cannot be read: {error.strerror or error}.') from error


def draw_preview(host: Host, embedding: Embedding, prompt: str, seed: int = 1) -> bytes:
    """Generate a preview with the loaded checkpoint, after waiting for the host's queue.

    Args:
        host: What generates it.
        embedding: The embedding, whose vectors are used as they are.
        prompt: In it, [name] stands for the embedding; if empty, DEFAULT_PROMPT.
        seed: The seed of the noise.

    Returns:
        The bytes of a PNG file.

    Raises:
        InvalidInput: The prompt is too long.
        Conflict: The embedding is for another model family than the loaded checkpoint.
        HostFailed: No checkpoint is loaded, or the host could not generate the image.
        Busy: The host's queue takes too long.
    """
    text = prompt.strip() or DEFAULT_PROMPT
    if len(text) > MAX_PROMPT:
        raise InvalidInput(f"The prompt has {len(text)} characters; at most {MAX_PROMPT} are allowed.")
    info = host.info()
    if not info.widths:
        raise HostFailed("No checkpoint is loaded.", "Load one, then draw.")
    if info.widths != embedding.widths:
        raise Conflict(does_not_fit(embedding.name, embedding.widths, info.widths), "Load a checkpoint of that kind.")
    side = info.resolution
    asked = text.replace("[name]", embedding.name)
    request = Txt2ImgRequest(asked, seed=seed, width=side, height=side, embeddings=(embedding,))
    with in_turn(host, f"Drawing a preview of {embedding.name}"):
        image = host.txt2img(request)
    return encode_png(image)
