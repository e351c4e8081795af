"""The preview image of an embedding: taken from a run, or newly generated."""

from __future__ import annotations

from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.errors import InvalidInput, NotFound, UnreadableFile, cannot_read
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.images.png import encode_png
from train_embedding.messages import msg
from train_embedding.services.infotext import infotext, with_infotext
from train_embedding.services.loaded_checkpoint import check_fits
from train_embedding.services.run_records import load_state, no_such_run
from train_embedding.services.sidecars.untrusted_images import read_preview
from train_embedding.services.waiting import in_turn

DEFAULT_PROMPT = "[name]"
MAX_PROMPT = 10_000


def read_last_preview(runs_folder: Path, run_id: str) -> bytes:
    """Read the newest preview of a run.

    Raises:
        NotFound: There is no such run, or it has no previews.
        UnreadableFile: The file of the preview no longer exists, or is too large.
    """
    folders = {folder.name: folder for folder in runs_folder.iterdir()} if runs_folder.is_dir() else {}
    try:
        state = load_state(folders[run_id])
    except (KeyError, OSError, ValueError) as error:
        raise no_such_run(run_id) from error
    if not state.previews:
        raise NotFound(msg('The run "{run}" has no previews.', run=run_id))
    file = state.folder / "previews" / state.previews[-1].name
    try:
        return read_preview(file)
    except OSError as error:
        raise UnreadableFile(cannot_read(file.name, error)) from error


def draw_preview(host: Host, embedding: Embedding, prompt: str, seed: int = 1) -> bytes:
    """Generate a preview with the loaded checkpoint, after waiting for the host's queue.

    Args:
        host: The host that generates it.
        embedding: The embedding. It need not be in the library.
        prompt: The prompt, in which [name] stands for the embedding; if empty, DEFAULT_PROMPT.
        seed: The seed of the noise.

    Returns:
        The bytes of a PNG file.

    Raises:
        InvalidInput: The prompt is too long.
        Conflict: The embedding is for another model family than the loaded checkpoint.
        HostFailed: No checkpoint is loaded, or the host could not generate the image.
        Busy: Too many requests are waiting for the host's queue.
    """
    text = prompt.strip() or DEFAULT_PROMPT
    if len(text) > MAX_PROMPT:
        raise InvalidInput(
            msg("The prompt has {length} characters; at most {limit} are allowed.", length=len(text), limit=MAX_PROMPT)
        )
    info = host.info()
    check_fits(embedding.name, embedding.widths, info)
    side = info.resolution
    filled = text.replace("[name]", embedding.name)
    request = Txt2ImgRequest(filled, seed=seed, width=side, height=side, embeddings=(embedding,))
    with in_turn(host, f"Drawing a preview of {embedding.name}"):
        image = host.txt2img(request)
    return with_infotext(encode_png(image), infotext(request, info.checkpoint_name, info.checkpoint_hash))
