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

if TYPE_CHECKING:
    from train_embedding.engine.data.image_folder import SkippedFile
    from train_embedding.engine.data.latents import EncodedImage
    from train_embedding.engine.model.diffusion_model import DiffusionModel

REPORT_FILE = "images.json"
"In the run's folder: which images were used and how, and which were not and why."
MAX_SKIP_NOTES = 10
"Number of skipped images with a note of their own; the report has all."


def prepare_pictures(
    host: Host, model: DiffusionModel, resolved: ResolvedSpec, run_folder: Path, stopped: Callable[[], bool]
) -> tuple[list[EncodedImage], list[str]]:
    """Encode the dataset's images and write the report about them.

    Args:
        host: Knows the folders.
        model: Encodes the images.
        resolved: The run's spec.
        run_folder: Gets the report.
        stopped: Tells whether to return early, with fewer images and without a report.

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
    pictures, skipped = scan_folder(folder, image_options(resolved), info.allowed_folders)
    cache = LatentCache(latents_folder(info), model) if spec.cache_latents_to_disk else None
    encoded, unread = encode_dataset(model, pictures, random_flip=spec.random_flip, cache=cache, stopped=stopped)
    if stopped():
        return encoded, []
    skipped += unread
    if not encoded:
        raise no_usable_images(folder, skipped)
    report = report_of(folder, encoded, skipped, spec.unmasked_weight)
    write_atomically(run_folder / REPORT_FILE, json.dumps(report, ensure_ascii=False, indent=1).encode())
    return encoded, [*skip_notes(skipped), *([cache.problem] if cache is not None and cache.problem else [])]


def skip_notes(skipped: Sequence[SkippedFile]) -> list[str]:
    """Describe the images that are not used, the first few by name."""
    notes = [f'"{name}" was skipped: {reason}' for name, reason in skipped[:MAX_SKIP_NOTES]]
    more = len(skipped) - MAX_SKIP_NOTES
    return [*notes, f"{more} more were skipped; {REPORT_FILE} in the run's folder says why."] if more > 0 else notes


def latents_folder(info: HostInfo) -> Path:
    """Return where latents are kept between runs: next to the runs, never where a host would serve them."""
    return info.runs_folder.parent / "latents"


def report_of(
    folder: Path, encoded: Sequence[EncodedImage], skipped: Sequence[SkippedFile], unmasked_weight: float
) -> dict[str, Any]:
    """Describe which images are used and how, and which are not and why, as JSON values. Sizes are in pixels."""
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
                "trained_at": list(image.target),
                "caption": image.caption,
                "caption_from": "text file" if image.has_caption_file else "file name",
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
    """Read the report of a run.

    Raises:
        NotFound: There is no report that can be read.
    """
    file = run_folder / REPORT_FILE
    try:
        report: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotFound(f'The run "{run_folder.name}" has no report about its images.') from error
    if not isinstance(report, dict):
        raise NotFound(f'The run "{run_folder.name}" has no report about its images.')
    return cast("dict[str, Any]", report)
