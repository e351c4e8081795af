"""Sharing an embedding: an archive with everything that a page on Civitai needs, or an image that shows and contains it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.images.png import SIGNATURE, NotPNG, read_header
from train_embedding.messages import Message, msg
from train_embedding.services.infotext import infotext, with_infotext
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.shares import CARD
from train_embedding.services.library.sharing_texts import Listed, make_readme, make_record
from train_embedding.services.run_records import RunState, load_state, preview_request
from train_embedding.services.sidecars.untrusted_images import decode_preview, read_preview

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.embeddings.embedding import Embedding

README, RECORD = "README.md", "civitai.json"
MAX_IMAGES = 20
"Images that one post on Civitai can have."
MAX_LICENSE = 1000
"Characters."

_CARD_SIDE = 1024


@dataclass(frozen=True)
class _Picture:
    """An image in the archive."""

    file_name: str
    data: bytes
    infotext: str = ""


def make_card(entry: Entry, embedding: Embedding, runs_folder: Path) -> bytes:
    """Draw the share card of an embedding with its preview image, or else with that of the run that trained it.

    Args:
        entry: The embedding.
        embedding: Its vectors.
        runs_folder: The folder of runs.

    Returns:
        The bytes of a PNG file.

    Raises:
        InvalidInput: The embedding has several text encoders.
        UnreadableFile: The preview image cannot be read.
        StorageFailed: The vectors do not fit into an image.
    """
    from train_embedding.embeddings.formats import encode_card

    if len(embedding.vectors) > 1:
        raise InvalidInput(
            msg(
                '"{name}" is for {family}, and the WebUI cannot read such embeddings from images.',
                name=entry.name,
                family=entry.family,
            ),
            msg("Export it as a .safetensors file."),
        )
    return encode_card(embedding, _picture(entry, find_run(entry.name, entry.file, runs_folder)))


def make_archive(entry: Entry, embedding: Embedding, runs_folder: Path, license: str = "") -> bytes:
    """Pack an embedding for Civitai: two file formats, its card and previews, and texts to paste.

    Args:
        entry: The embedding.
        embedding: Its vectors.
        runs_folder: Has the run that trained it, which tells about images and settings.
        license: The license to state; empty for a line to fill in.

    Returns:
        The bytes of a zip archive with one folder.

    Raises:
        InvalidInput: The license is too long.
        UnreadableFile: The preview image cannot be read.
    """
    from train_embedding.embeddings.formats import draw_card, encode, encode_card

    if len(license) > MAX_LICENSE:
        raise InvalidInput(
            msg("The license has {length} characters; at most {limit} are allowed.", length=len(license), limit=MAX_LICENSE)
        )
    name, several = entry.name, len(embedding.vectors) > 1
    run = find_run(name, entry.file, runs_folder)
    draw = draw_card if several else encode_card
    files = {
        f"{name}.safetensors": encode(embedding, "safetensors", ".safetensors"),
        f"{name}.pt": encode(embedding, "sdxl" if several else "webui", ".pt"),
        f"{name}.card.png": draw(embedding, _picture(entry, run)),
    }
    pictures = _pictures(entry, embedding, run)
    images = [(picture.file_name, picture.infotext) for picture in pictures]
    record = make_record(entry, embedding, run, Listed(tuple(files), tuple(images), license.strip()))
    files |= {picture.file_name: picture.data for picture in pictures}
    files[RECORD] = json.dumps(record, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    files[README] = make_readme(record).encode("utf-8", "replace")
    return _zipped(name, files)


def usage_of(share: str, file_name: str) -> Message:
    """Return the sentence that says what to do with an exported file."""
    if share == CARD:
        return msg(
            'Post {file}, or put it into the folder "{folder}": the image contains the embedding. Share it as a file, because '
            "many websites convert images.",
            file=file_name,
            folder="embeddings",
        )
    return msg("Unpack {file}, upload its files to Civitai, and paste the texts from {readme}.", file=file_name, readme=README)


def find_run(name: str, file: Path, runs_folder: Path) -> RunState | None:
    """Return the newest run that wrote an embedding; None if there is none that can be read."""
    try:
        folders = sorted((folder for folder in runs_folder.iterdir() if folder.is_dir()), reverse=True)
    except OSError:
        return None
    for folder in folders:
        try:
            state = load_state(folder)
        except (OSError, ValueError):  # not a run, or damaged; the list of runs logs it
            continue
        if state.step and (state.result == file or (state.embedding == name and state.result is not None)):
            return state
    return None


def _picture(entry: Entry, run: RunState | None) -> Image.Image | None:
    """Return the picture for a card: the preview, or the first one of the run; None if neither can be read."""
    for file in (entry.preview, *(file for file, _ in _kept_previews(run)[:1])):
        data = None if file is None else _read(file)
        if data is not None:
            return decode_preview(data, _CARD_SIDE)
    return None


def _pictures(entry: Entry, embedding: Embedding, run: RunState | None) -> list[_Picture]:
    """Return the embedding's preview and those of the step that its run kept, without duplicates."""
    found: dict[bytes, _Picture] = {}
    known = (embedding.checkpoint_name or (run.checkpoint if run else ""), embedding.checkpoint_hash or "")
    for number, (file, prompt) in enumerate(_kept_previews(run)):
        data = _read(file)
        if run is not None and data is not None:
            text = _infotext(run, prompt, data, known)
            found[_pixels_of(data)] = _Picture(f"previews/{number + 1:02d}{file.suffix}", _told(data, text), text)
    cover = None if entry.preview is None else _read(entry.preview)
    if entry.preview is not None and cover is not None and _pixels_of(cover) not in found:
        found = {_pixels_of(cover): _Picture(f"previews/00{entry.preview.suffix}", cover), **found}
    return list(found.values())[:MAX_IMAGES]


def _kept_previews(run: RunState | None) -> Sequence[tuple[Path, str]]:
    """Return the previews of the step whose vectors the embedding has, or of the last one, with their prompts."""
    if run is None or not run.previews:
        return ()
    by_step: dict[str, list[Path]] = {}
    for file in run.previews:
        by_step.setdefault(file.stem.partition("-")[0], []).append(run.folder / "previews" / file.name)
    step = run.best_step if run.saved_step is None else run.saved_step
    kept = by_step.get(f"{step or 0:07d}") or by_step[max(by_step)]
    return list(zip(sorted(kept, key=_preview_number), run.spec.preview_prompts(), strict=False))


def _preview_number(file: Path) -> int:
    number = file.stem.partition("-")[2]
    return int(number) if number.isdecimal() else 1


def _infotext(run: RunState, prompt: str, data: bytes, checkpoint: tuple[str, str]) -> str:
    try:
        header = read_header(io.BytesIO(data))
    except NotPNG:
        return ""
    return infotext(preview_request(run.spec, prompt, header.width, header.height), *checkpoint)


def _told(data: bytes, text: str) -> bytes:
    try:
        return with_infotext(data, text) if text else data
    except NotPNG:
        return data


def _pixels_of(data: bytes) -> bytes:
    """Return what tells images apart, whatever texts they carry: the bytes from the first pixels on."""
    start = data.find(b"IDAT") if data.startswith(SIGNATURE) else 0
    return data[max(start, 0) :]


def _read(file: Path) -> bytes | None:
    """Read an image; None if it was removed."""
    try:
        return read_preview(file)
    except (OSError, UnreadableFile):
        return None


def _zipped(folder: str, files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return packed.getvalue()
