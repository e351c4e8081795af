"""`train-embedding dataset crop` and `dataset mask`: which part of an image training uses, and which part of that it learns."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.cli.common import count, open_services, print_json, print_table
from train_embedding.errors import InvalidInput, UnreadableFile, cannot_read
from train_embedding.messages import msg
from train_embedding.services.datasets import CheckOptions, shown_size
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.datasets import CropsChanged, Datasets, MasksChanged

Progress = Callable[[int, int], None]
MAX_MASK_BYTES = 64 * 2**20


def add_crop_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dataset crop`."""
    action = parser.add_mutually_exclusive_group()
    box = "use this part of one IMAGE: left, top, width and height in pixels of the upright image, such as 0,64,512,512"
    action.add_argument("--box", type=_box, metavar="L,T,W,H", help=box)
    centre = "move the crop to the largest face, or to the most salient part (default: of all images that are not excluded)"
    action.add_argument("--centre", "--center", action="store_true", help=centre)
    action.add_argument("--reset", action="store_true", help="use whole images again (default: all)")
    action.add_argument("--undo", action="store_true", help="undo the last change of crops")
    sizes = "{side} of the training size, whose shape a new crop gets"
    parser.add_argument("--width", type=int, default=0, metavar="N", help=sizes.format(side="width"))
    parser.add_argument("--height", type=int, default=0, metavar="N", help=sizes.format(side="height"))
    parser.add_argument("--buckets", action=argparse.BooleanOptionalAction, default=True, help="aspect ratio bucketing")


def add_mask_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dataset mask`."""
    action = parser.add_mutually_exclusive_group(required=True)
    file = "write the mask of one IMAGE from an image file: white is trained, black is left out"
    action.add_argument("--file", type=typed_path, metavar="FILE", help=file)
    foreground = "write the masks of the foregrounds, with a model of rembg on this computer"
    action.add_argument("--foreground", action="store_true", help=foreground)
    action.add_argument("--remove", action="store_true", help="move the mask files to the trash")
    action.add_argument("--undo", action="store_true", help="undo the last change of masks")
    parser.add_argument("--replace", action="store_true", help="move mask files that exist to the trash")


def crop(arguments: argparse.Namespace, progress: Progress) -> int:
    """Run `dataset crop` and return its exit code."""
    datasets = open_services(arguments).datasets
    folder, images = arguments.folder, arguments.images
    if arguments.undo:
        return _print_crops_changed(arguments, datasets.crops.undo(folder))
    if arguments.reset:
        return _print_crops_changed(arguments, datasets.crops.clear(folder, images))
    if arguments.box is not None:
        return _print_crops_changed(arguments, datasets.crops.set_box(folder, _only(images), arguments.box))
    if arguments.centre:
        options = CheckOptions(arguments.width, arguments.height, arguments.buckets)
        changed = datasets.crops.centre(folder, images, options, progress)
        return _print_crops_changed(arguments, changed, str(datasets.crops.faces_problem()))
    return _print_crops(arguments, datasets)


def mask(arguments: argparse.Namespace) -> int:
    """Run `dataset mask` and return its exit code."""
    masks = open_services(arguments).datasets.masks
    folder, images, replace = arguments.folder, arguments.images, arguments.replace
    if arguments.undo:
        return _print_masks_changed(arguments, [masks.undo(folder)])
    if arguments.remove:
        return _print_masks_changed(arguments, [masks.remove(folder, images)])
    if arguments.file is not None:
        image = _only(images)
        return _print_masks_changed(arguments, [masks.write(folder, image, _content(arguments.file), replace=replace)])
    if not images:
        raise InvalidInput(msg("No image is given."), msg("Select at least one."))
    made = [masks.write(folder, image, masks.foreground(folder, image), replace=replace) for image in images]
    return _print_masks_changed(arguments, made)


def _box(text: str) -> tuple[int, int, int, int]:
    left, top, width, height = (int(part) for part in text.split(","))
    return left, top, width, height


def _only(images: list[str]) -> str:
    """Return the single image that was given. Raises InvalidInput."""
    if len(images) != 1:
        raise InvalidInput(msg("Give the name of one image."))
    return images[0]


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_MASK_BYTES:
            raise InvalidInput(msg('"{file}" is larger than {most} MB.', file=file, most=MAX_MASK_BYTES // 2**20))
        return file.read_bytes()
    except OSError as error:
        raise UnreadableFile(cannot_read(file, error)) from error


def _print_crops(arguments: argparse.Namespace, datasets: Datasets) -> int:
    found = datasets.crops.list(arguments.folder, arguments.images)
    if arguments.json:
        print_json(found)
    elif found:
        rows: list[tuple[str, str, str]] = []
        for image in found:
            box = image.crop.rectangle(image.size) if image.crop is not None else None
            rows.append((image.name, shown_size(image.size), ",".join(map(str, box)) if box else "-"))
        print_table(("image", "size", "left, top, width, height"), rows)
    else:
        print("No image has a crop.")
    return 0


def _print_crops_changed(arguments: argparse.Namespace, changed: CropsChanged, note: str = "") -> int:
    parts = [f"Changed {count(len(changed.images), 'crop')}.", str(changed.note), note]
    return _print(arguments, changed, " ".join(filter(None, parts)))


def _print_masks_changed(arguments: argparse.Namespace, changes: list[MasksChanged]) -> int:
    files = [file for changed in changes for file in changed.files]
    trash = [file for changed in changes for file in changed.in_trash]
    parts = [f"Changed {count(len(files), 'mask file')}.", *(str(changed.note) for changed in changes)]
    parts.append(f"In the trash: {', '.join(trash)}." if trash else "")
    return _print(arguments, changes[0] if len(changes) == 1 else changes, " ".join(filter(None, parts)))


def _print(arguments: argparse.Namespace, result: Any, text: str) -> int:
    if arguments.json:
        print_json(result)
    else:
        print(text)
    return 0
