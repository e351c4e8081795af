"""The training images of a run: read them, encode them, and report which are used and which are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.errors import NotFound
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.messages import Message, decode, encode, msg, plural
from train_embedding.services.run_records import REPORT_FILE

if TYPE_CHECKING:
    from train_embedding.engine.data.image_folder import SkippedFile
    from train_embedding.engine.data.latents import EncodedImage
    from train_embedding.engine.model.diffusion_model import DiffusionModel

MAX_SKIP_NOTES = 10
"Number of skipped images that are named in the notes of a run; the report lists all of them."


def prepare_images(
    host: Host, model: DiffusionModel, resolved: ResolvedSpec, run_folder: Path, stopped: Callable[[], bool]
) -> tuple[list[EncodedImage], list[Message]]:
    """Encode the dataset's images and write the report about them.

    Args:
        host: The host, for the allowed folders and the latent cache.
        model: The model whose VAE encodes the images.
        resolved: The run's spec.
        run_folder: Where the report is written.
        stopped: Returns whether to return early, with fewer images and without a report.

    Returns:
        The encoded images, and notes for the person who started the run.

    Raises:
        NotFound: The dataset does not exist.
        NotAllowed: The dataset may not be read.
        NothingToTrainOn: No image can be used.
        TrainingFailed: The VAE fails.
        StorageFailed: The report cannot be written.
    """
    from train_embedding.engine.data.image_folder import image_options, no_usable_images, scan_folder
    from train_embedding.engine.data.latent_cache import LatentCache
    from train_embedding.engine.data.latents import encode_dataset

    spec, info = resolved.spec, host.info()
    folder = Path(spec.dataset)
    images, skipped = scan_folder(folder, image_options(resolved), info.allowed_folders)
    cache = LatentCache(latents_folder(info), model) if spec.cache_latents_to_disk else None
    encoded, unread = encode_dataset(model, images, random_flip=spec.random_flip, cache=cache, stopped=stopped)
    if stopped():
        return encoded, []
    skipped += unread
    if not encoded:
        raise no_usable_images(folder, skipped)
    report = report_of(folder, encoded, skipped, spec.unmasked_weight)
    write_atomically(run_folder / REPORT_FILE, json.dumps(_to_record(report), ensure_ascii=False, indent=1).encode())
    return encoded, [*skip_notes(skipped), *([cache.problem] if cache is not None and cache.problem else [])]


def skip_notes(skipped: Sequence[SkippedFile]) -> list[Message]:
    """Describe the images that are not used, the first few by name."""
    notes = [msg('"{name}" was skipped: {reason}', name=name, reason=reason) for name, reason in skipped[:MAX_SKIP_NOTES]]
    more = len(skipped) - MAX_SKIP_NOTES
    if more > 0:
        notes.append(
            plural(
                "{count} more image was skipped; see {file} in the run's folder.",
                "{count} more images were skipped; see {file} in the run's folder.",
                more,
                file=REPORT_FILE,
            )
        )
    return notes


def latents_folder(info: HostInfo) -> Path:
    """Return the folder of the latent cache: next to the runs folder, where no host serves files."""
    return info.runs_folder.parent / "latents"


def report_of(
    folder: Path, encoded: Sequence[EncodedImage], skipped: Sequence[SkippedFile], unmasked_weight: float
) -> dict[str, Any]:
    """Describe which images are used and how, and which are not and why.

    Returns:
        JSON values, with messages among them. Sizes are widths and heights in pixels.
    """
    from train_embedding.engine.data.image_folder import displayable
    from train_embedding.engine.data.masks import mask_weights

    sizes: dict[tuple[int, int], int] = {}
    used: list[dict[str, Any]] = []
    for item in encoded:
        image = item.image
        sizes[image.target] = sizes.get(image.target, 0) + 1
        used.append(
            {
                "file": image.name,
                "size": list(image.size),
                "crop": None if image.crop is None else image.crop.rectangle(image.size),
                "trained_at": list(image.target),
                "caption": image.caption,
                "caption_from": msg("text file") if image.has_caption_file else msg("file name"),
                "mask": image.mask or None,
                "mask_counts": mask_weights(item.mask, unmasked_weight) is not None,
                "repeats": image.repeats,
            }
        )
    return {
        "folder": displayable(str(folder)),
        "sizes": [{"size": list(size), "images": count} for size, count in sorted(sizes.items())],
        "used": used,
        "skipped": [{"file": name, "reason": reason} for name, reason in skipped],
    }


def read_report(run_folder: Path) -> dict[str, Any]:
    """Read the report of a run, as `report_of` made it.

    Raises:
        NotFound: There is no report that can be read.
    """
    file = run_folder / REPORT_FILE
    try:
        return _from_record(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotFound(msg('The run "{run}" has no report about its images.', run=run_folder.name)) from error


def _to_record(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report as its file holds it: its messages can still be translated."""
    used = [{**item, "caption_from": encode(item["caption_from"])} for item in report["used"]]
    skipped = [{**item, "reason": encode(item["reason"])} for item in report["skipped"]]
    return {**report, "used": used, "skipped": skipped}


def _from_record(record: Any) -> dict[str, Any]:
    """Return the report in a file, also of an earlier version. Raises ValueError, TypeError or KeyError for anything else."""
    used = [{**item, "caption_from": decode(item["caption_from"])} for item in record["used"]]
    skipped = [{**item, "reason": decode(item["reason"])} for item in record["skipped"]]
    return {**cast("dict[str, Any]", record), "used": used, "skipped": skipped}
