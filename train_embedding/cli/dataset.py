"""`train-embedding dataset`: datasets and their captions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from train_embedding.cli.common import (
    OPTION_NAMES,
    Commands,
    Run,
    add_command,
    add_host_options,
    count,
    open_services,
    print_json,
    print_table,
    with_option_names,
)
from train_embedding.cli.dataset_images import add_crop_options, add_mask_options, crop, mask
from train_embedding.cli.train import caption_lines
from train_embedding.engine.config import OPTIONS
from train_embedding.errors import TrainingFailed
from train_embedding.messages import Message, msg
from train_embedding.services.datasets import (
    CaptionEdit,
    CaptionOptions,
    CaptionRequest,
    CheckOptions,
    Existing,
    Upload,
    caption_use,
    shown_size,
)
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services.datasets import Added, CaptionsChanged, CheckedImage, DatasetCheck, Datasets

_CHECKED = ("width", "height", "buckets", "resize_mode", "masks", "repeats", "template")
"The options of a run that decide how it sees its images."
_POLL_SECONDS = 0.2
_FOLDER = "the dataset: a folder, or the name of one in the data folder"


def add_to(commands: Commands) -> None:
    """Add the command and its subcommands."""
    parser = commands.add_parser(
        "dataset",
        help="check and change datasets and their captions",
        description="Check and change datasets and their captions.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_check(actions)
    _add(actions, "list", list_datasets, "list the datasets in the data folder", folder=False)
    create = _add(actions, "create", create_dataset, "create a dataset in the data folder", folder=False)
    create.add_argument("name", metavar="NAME", help="its name")
    _add_files(create, "*")
    _add_files(_add(actions, "add", add_files, "add images, captions, masks and zip archives of them"), "+")
    _add_images(_add(actions, "remove", remove, "move images with their captions and masks to the trash"), "+")
    restore = _add(actions, "restore", restore_images, "bring removed images back")
    restore.add_argument("item", metavar="ITEM", nargs="?", default="", help="an item of --list (default: the newest)")
    restore.add_argument("--list", action="store_true", help="list what was removed instead")
    _add(actions, "delete", delete, "move a whole dataset of the data folder to the trash")
    undelete = _add(actions, "undelete", undelete_dataset, "bring a deleted dataset back", folder=False)
    undelete.add_argument("item", metavar="ITEM", nargs="?", default="", help="an item of --list (default: the newest)")
    undelete.add_argument("--list", action="store_true", help="list the deleted datasets instead")
    _add_images(_add(actions, "exclude", exclude, "exclude images from training without deleting them"), "+")
    _add_images(_add(actions, "include", include, "use excluded images again"), "+")
    _add_caption(actions)
    _add_autocaption(actions)
    crops = _add(actions, "crop", crop_images, "show or choose the part of images that training uses; changes can be undone")
    _add_images(crops, "*")
    add_crop_options(crops)
    masks = _add(actions, "mask", mask, "write or remove the masks of images; changes can be undone")
    _add_images(masks, "*")
    add_mask_options(masks)


def _add_check(actions: Any) -> None:
    parser = _add(actions, "check", check, "report what training will see of each image, with warnings")
    parser.add_argument("--embedding", default="", metavar="NAME", help="the trigger, to check whether captions contain it")
    parser.add_argument("--all", action="store_true", help="list all images, not only those with warnings")
    for option in (option for option in OPTIONS if option.name in _CHECKED):
        syntax: dict[str, Any] = {"type": int, "metavar": "N"}
        if option.kind == "choice":
            syntax = {"choices": option.choices}
        elif option.kind == "flag":
            syntax = {"action": argparse.BooleanOptionalAction}
        elif option.kind == "lines":
            syntax = {"action": "append", "metavar": "LINE"}
        parser.add_argument(OPTION_NAMES[option.name], default=None, help=option.help.replace("%", "%%"), **syntax)


def _add_caption(actions: Any) -> None:
    what = "show captions, write one, or change many; changes can be undone"
    parser = _add(actions, "caption", caption, what)
    _add_images(parser, "*")
    parser.add_argument("--set", metavar="TEXT", dest="text", help="write this caption; needs one IMAGE")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="put this text in front of captions")
    parser.add_argument("--suffix", default="", metavar="TEXT", help="put this text at the end of captions")
    parser.add_argument("--find", default="", metavar="TEXT", help="replace this text")
    parser.add_argument("--replace", default="", metavar="TEXT", help="by this text (default: nothing)")
    parser.add_argument("--remove-tag", default="", metavar="TAG", help="remove a tag, which is the text between two commas")
    parser.add_argument("--create", action="store_true", help="also write captions for images that have none")
    parser.add_argument("--tags", action="store_true", help="list the tags of all captions with their counts")
    parser.add_argument("--undo", action="store_true", help="undo the last change of captions")


def _add_autocaption(actions: Any) -> None:
    parser = _add(actions, "autocaption", autocaption, "generate captions with a caption model; they can be undone")
    _add_images(parser, "*")
    what = "the folder of a caption model: BLIP, Florence-2, GIT or a WD14 tagger; nothing is downloaded"
    parser.add_argument("--model", metavar="FOLDER", type=typed_path, required=True, help=what)
    existing = "what happens to images with a caption file: keep it (default), append the new caption to it, or replace it"
    parser.add_argument("--existing", choices=get_args(Existing), default="keep", help=existing)
    parser.add_argument("--prefix", default="", metavar="TEXT", help='put this text in front of new captions, such as "my-cat, "')
    parser.add_argument("--max-tokens", type=int, default=CaptionOptions.max_tokens, metavar="N", help="longest caption")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what Florence-2 is asked for, such as <CAPTION>")
    parser.add_argument(
        "--threshold", type=float, default=CaptionOptions.threshold, metavar="P", help="smallest probability of a general tag"
    )
    parser.add_argument(
        "--character-threshold", type=float, default=CaptionOptions.character_threshold, metavar="P",
        help="smallest probability of a tag that names a character",
    )  # fmt: skip


def _add(actions: Any, name: str, run: Run, what: str, folder: bool = True) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, what, f"{what[0].upper()}{what[1:]}.")
    if folder:
        parser.add_argument("folder", metavar="DATASET", help=_FOLDER)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_host_options(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser, number: str) -> None:
    what = "images, masks (NAME-masklabel.png), captions (NAME.txt), or zip archives of them"
    parser.add_argument("files", metavar="FILE", nargs=number, type=typed_path, help=what)


def _add_images(parser: argparse.ArgumentParser, number: str) -> None:
    parser.add_argument("images", metavar="IMAGE", nargs=number, help="name of an image in the dataset")


def check(arguments: argparse.Namespace) -> int:
    """Run `dataset check` and return its exit code."""
    services = open_services(arguments)
    given = {name: getattr(arguments, name) for name in _CHECKED if getattr(arguments, name) is not None}
    if "template" in given:
        given["template"] = tuple(caption_lines(given["template"], services))
    options = CheckOptions(embedding=arguments.embedding, **given)
    found = services.datasets.check(arguments.folder, options, _progress())
    if arguments.json:
        print_json(found)
    else:
        _print_lines(_summary(found))
        shown = [image for image in found.images if arguments.all or image.warnings or image.excluded]
        if shown:
            print_table(("image", "size", "trained at", "cut off", "mask", "sharpness", "warnings"), list(map(_row, shown)))
    return 0


def list_datasets(arguments: argparse.Namespace) -> int:
    """Run `dataset list` and return its exit code."""
    found = open_services(arguments).datasets.list()
    if arguments.json:
        print_json(found)
    elif found:
        print_table(("name", "images", "folder"), [(one.name, str(one.images), str(one.folder)) for one in found])
    else:
        print(f"There are no datasets in {arguments.data}. Create one with: train-embedding dataset create NAME FILE …")
    return 0


def create_dataset(arguments: argparse.Namespace) -> int:
    """Run `dataset create` and return its exit code."""
    return _print_added(arguments, open_services(arguments).datasets.create(arguments.name, _uploads(arguments.files)))


def add_files(arguments: argparse.Namespace) -> int:
    """Run `dataset add` and return its exit code."""
    return _print_added(arguments, open_services(arguments).datasets.add(arguments.folder, _uploads(arguments.files)))


def remove(arguments: argparse.Namespace) -> int:
    """Run `dataset remove` and return its exit code."""
    moved = open_services(arguments).datasets.remove(arguments.folder, arguments.images)
    return _print_result(arguments, {"moved": moved}, f"Moved {count(moved, 'file')} to the trash.")


def restore_images(arguments: argparse.Namespace) -> int:
    """Run `dataset restore` and return its exit code."""
    datasets = open_services(arguments).datasets
    if arguments.list:
        items = datasets.removed(arguments.folder)
        if arguments.json:
            print_json(items)
        elif items:
            print_table(("item", "files"), [(item.id, str(len(item.files))) for item in items])
        else:
            print("Nothing was removed.")
        return 0
    item = datasets.restore(arguments.folder, arguments.item)
    return _print_result(arguments, {"restored": list(item.files)}, f"Restored {count(len(item.files), 'file')}.")


def delete(arguments: argparse.Namespace) -> int:
    """Run `dataset delete` and return its exit code."""
    folder = open_services(arguments).datasets.delete(arguments.folder)
    return _print_result(arguments, {"deleted": folder}, f"{folder.name} is in the trash.")


def undelete_dataset(arguments: argparse.Namespace) -> int:
    """Run `dataset undelete` and return its exit code."""
    datasets = open_services(arguments).datasets
    if arguments.list:
        items = datasets.deleted()
        if arguments.json:
            print_json(items)
        elif items:
            print_table(("item", "files"), [(item.id, str(len(item.files))) for item in items])
        else:
            print("No dataset was deleted.")
        return 0
    folder = datasets.undelete(arguments.item)
    return _print_result(arguments, {"restored": folder}, f"Restored the dataset {folder.name}.")


def crop_images(arguments: argparse.Namespace) -> int:
    """Run `dataset crop` and return its exit code."""
    return crop(arguments, _progress())


def exclude(arguments: argparse.Namespace) -> int:
    """Run `dataset exclude` and return its exit code."""
    changed = open_services(arguments).datasets.exclude(arguments.folder, arguments.images)
    return _print_result(arguments, {"excluded": changed}, f"Training leaves out {count(changed, 'image')}.")


def include(arguments: argparse.Namespace) -> int:
    """Run `dataset include` and return its exit code."""
    changed = open_services(arguments).datasets.exclude(arguments.folder, arguments.images, excluded=False)
    return _print_result(arguments, {"included": changed}, f"Training uses {count(changed, 'image')} again.")


def caption(arguments: argparse.Namespace) -> int:
    """Run `dataset caption` and return its exit code."""
    datasets = open_services(arguments).datasets
    edit = CaptionEdit(arguments.remove_tag, arguments.find, arguments.replace, arguments.prefix, arguments.suffix)
    if arguments.undo:
        return _print_changed(arguments, datasets.undo_captions(arguments.folder))
    if arguments.tags:
        return _print_tags(arguments, datasets)
    if arguments.text is not None:
        name = arguments.images[0] if len(arguments.images) == 1 else ""
        return _print_changed(arguments, datasets.write_caption(arguments.folder, name, arguments.text))
    if not edit.is_empty:
        changed = datasets.edit_captions(arguments.folder, edit, arguments.images, arguments.create)
        return _print_changed(arguments, changed)
    return _print_captions(arguments, datasets)


def autocaption(arguments: argparse.Namespace) -> int:
    """Run `dataset autocaption` and return its exit code."""
    datasets = open_services(arguments).datasets
    options = CaptionOptions(arguments.max_tokens, arguments.prompt, arguments.threshold, arguments.character_threshold)
    request = CaptionRequest("", arguments.model, arguments.existing, arguments.prefix, options)
    datasets.generate_captions(arguments.folder, request, arguments.images)
    show, job = _progress(), None
    try:
        while (job := datasets.auto_captions.wait(_POLL_SECONDS)) is not None and job.active:
            show(job.done, job.images)
    except KeyboardInterrupt:
        datasets.auto_captions.stop()
        job = datasets.auto_captions.wait()
    assert job is not None
    if job.status == "failed":
        raise TrainingFailed(job.problem, job.hint)
    text = [f"Wrote {count(job.written, 'caption')}.", f"{count(job.kept, 'image')} kept the caption." if job.kept else ""]
    _print_result(arguments, job, " ".join(filter(None, text)))
    if not arguments.json:
        _print_lines(f"{name}: {reason}" for name, reason in job.skipped)
    return 0 if job.status == "finished" else 1


def _print_tags(arguments: argparse.Namespace, datasets: Datasets) -> int:
    tags = datasets.tags(arguments.folder)
    if arguments.json:
        print_json([{"tag": tag, "images": number} for tag, number in tags])
    else:
        print_table(("tag", "images"), [(tag, str(number)) for tag, number in tags])
    return 0


def _print_captions(arguments: argparse.Namespace, datasets: Datasets) -> int:
    images = datasets.captions(arguments.folder, arguments.images)
    if arguments.json:
        print_json(images)
        return 0
    rows = [(image.name, str(image.tokens), image.caption if image.has_file else f"({image.caption})") for image in images]
    print_table(("image", "tokens", "caption"), rows)
    return 0


def _uploads(files: Iterable[Path]) -> list[Upload]:
    return [Upload(file.name, file) for file in files]


def _progress() -> Callable[[int, int], None]:
    """Return what shows a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return lambda _done, _total: None
    from tqdm import tqdm

    bar: Any = tqdm(unit="image", file=sys.stderr, leave=False, mininterval=0.5)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def _summary(found: DatasetCheck) -> Iterable[str]:
    excluded = sum(image.excluded for image in found.images)
    yield f"{found.folder}: {count(len(found.images), 'image')}, {len(found.used)} used, {excluded} excluded."
    for size, number in found.buckets:
        yield f"{shown_size(size)}: {number}"
    yield from (with_option_names(note) for note in found.notes)
    use: Message = caption_use(found.options.template)
    if use:
        yield with_option_names(use)


def _row(image: CheckedImage) -> Sequence[str]:
    texts = [msg("Excluded from training.")] if image.excluded else []
    warnings = " ".join([*texts, *(with_option_names(warning.text) for warning in image.warnings)])
    known = image.target != (0, 0)
    return (
        image.name,
        shown_size(image.size) if known else "-",
        shown_size(image.target) if known else "-",
        f"{100 * image.cut:.0f} %",
        image.mask or "-",
        "-" if image.sharpness is None else f"{image.sharpness:.0f}",
        warnings,
    )


def _print_added(arguments: argparse.Namespace, added: Added) -> int:
    if arguments.json:
        print_json(added)
        return 0
    print(f"Added {count(len(added.files), 'file')} to {added.folder}")
    if added.known:
        print(f"Already there: {', '.join(added.known)}")
    _print_lines(f"{name}: {reason}" for name, reason in added.skipped)
    return 0


def _print_changed(arguments: argparse.Namespace, changed: CaptionsChanged) -> int:
    text = f"Changed {count(len(changed.files), 'caption')}. {changed.note}".strip()
    return _print_result(arguments, changed, text)


def _print_result(arguments: argparse.Namespace, result: Any, text: str) -> int:
    if arguments.json:
        print_json(result)
    else:
        print(text)
    return 0


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
