"""The texts that go with a shared embedding: what it is, how to use it, and what it was trained on. They are in English."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from train_embedding.messages import plural
from train_embedding.services.library.entries import Entry
from train_embedding.services.run_records import REPORT_FILE, RunState

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding

BASE_MODELS = {"SD1": "SD 1.5", "SD2": "SD 2.1", "SDXL": "SDXL 1.0"}
"Civitai's names of the model families."

_CHOOSE_LICENSE = "(Choose one, for example CC0 1.0, CC BY 4.0 or CreativeML Open RAIL-M.)"
_SAY_WHAT_IMAGES_SHOW = "(Add what the images show, who made them, and that you may use them.)"
_DESCRIBE = "(Describe what the embedding does.)"
_MAX_REPORT = 16 * 2**20
"Bytes."


@dataclass(frozen=True)
class Listed:
    """What an archive contains."""

    files: tuple[str, ...]
    images: tuple[tuple[str, str], ...]
    "Names of files, with their infotexts, which may be empty."
    license: str = ""


@dataclass(frozen=True)
class _Dataset:
    """What the report of a run says about its images."""

    sizes: tuple[str, ...] = ()
    'The size that each image was trained at, such as "512 × 768".'
    captions: int = 0
    "Number of different ones."
    masks: int = 0


def make_record(entry: Entry, embedding: Embedding, run: RunState | None, listed: Listed) -> dict[str, Any]:
    """Return what is said about an embedding, as JSON values.

    Args:
        entry: The embedding, with its notes.
        embedding: Its vectors and metadata.
        run: The run that trained it; None if there is none.
        listed: What is shared.
    """
    notes = entry.notes
    words = training_in_words(run) if run else f"{embedding.step} steps." if embedding.step else ""
    return {
        "name": entry.name,
        "type": "TextualInversion",
        "baseModel": BASE_MODELS.get(entry.family, "Other"),
        "trainedWords": [entry.name],
        "activationText": notes.activation_text,
        "negativeText": notes.negative_text,
        "preferredWeight": notes.preferred_weight or None,
        "description": notes.description,
        "notes": notes.notes,
        "license": listed.license,
        "vectors": embedding.count,
        "steps": embedding.step,
        "checkpoint": {"name": embedding.checkpoint_name, "hash": embedding.checkpoint_hash},
        "trainingData": words,
        "captions": list(run.spec.template) if run and not run.spec.distills else [],
        "files": list(listed.files),
        "images": [{"file": file, "infotext": infotext} for file, infotext in listed.images],
    }


def make_readme(record: Mapping[str, Any]) -> str:
    """Return a record as Markdown, whose sections can be pasted into a web page; what a person must add is in parentheses."""
    name, checkpoint = record["name"], record["checkpoint"]
    trained_on = " ".join(filter(None, [checkpoint["name"], f"[{checkpoint['hash']}]" if checkpoint["hash"] else ""]))
    facts = {
        "Type": "Embedding (textual inversion)",
        "Trigger word": f"`{name}`",
        "Base model": record["baseModel"],
        "Trained with the checkpoint": trained_on,
        "Vectors": str(record["vectors"]),
        "Steps": str(record["steps"] or ""),
        "Weight": f"`({name}:{record['preferredWeight']:g})`" if record["preferredWeight"] else "",
        "Goes well with": record["activationText"],
        "Negative prompt": record["negativeText"],
    }
    table = "\n".join(f"* **{title}:** {value}" for title, value in facts.items() if value)
    usage = [
        f"Put `{name}.safetensors` (or `{name}.pt`) into the folder `embeddings` of the WebUI or `models/embeddings` of ComfyUI, "
        f"and write `{name}` into the prompt (in ComfyUI `embedding:{name}`)."
    ]
    if record["baseModel"] != BASE_MODELS["SDXL"]:
        usage.append(f"The image `{name}.card.png` contains the embedding, too: the WebUI loads it from the same folder.")
    images = "\n\n".join(f"`{image['file']}`\n\n```\n{image['infotext']}\n```" for image in record["images"] if image["infotext"])
    sections = {
        f"# {name}": "\n\n".join(filter(None, [record["description"] or _DESCRIBE, table])),
        "## How to use it": "\n\n".join(usage),
        "## Training data": "\n\n".join(filter(None, [record["trainingData"], _SAY_WHAT_IMAGES_SHOW])),
        "## License": record["license"] or _CHOOSE_LICENSE,
        "## Notes": record["notes"],
        "## Images": images,
    }
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def training_in_words(run: RunState) -> str:
    """Describe in a few English sentences what an embedding was trained on and how.

    Args:
        run: The run that trained it.
    """
    spec = run.spec
    if spec.distills:
        source = f"Trained without images: it packs the prompt “{spec.teacher_prompt.strip()}”."
    else:
        source = f"Trained on {_images_in_words(_read_dataset(run))}."
    samples = run.step * spec.batch_size * spec.gradient_accumulation_steps
    per_step = f", {samples:,} samples in all" if not spec.distills else ""
    how = f"{run.step} steps with batch size {spec.batch_size}{per_step}; preset {spec.preset}, optimizer {spec.optimizer}, "
    return f"{source} {how}learning rate {spec.learning_rate} ({spec.lr_scheduler}), seed {spec.seed}."


def _images_in_words(dataset: _Dataset) -> str:
    if not dataset.sizes:
        return "images that the run no longer lists"
    counts = [f"{count} at {size} pixels" for size, count in sorted(Counter(dataset.sizes).items())]
    facts = [f"{plural('{count} image', '{count} images', len(dataset.sizes))} ({', '.join(counts)})"]
    facts += [f"{dataset.captions} different captions"] if dataset.captions > 1 else []
    facts += [f"{dataset.masks} with a mask"] if dataset.masks else []
    return ", ".join(facts)


def _read_dataset(run: RunState) -> _Dataset:
    """Read the report about a run's images; nothing of it if it is missing or damaged."""
    file = run.folder / REPORT_FILE
    try:
        used: Any = json.loads(file.read_text(encoding="utf-8"))["used"] if file.stat().st_size <= _MAX_REPORT else []
        sizes = tuple(f"{int(image['trained_at'][0])} × {int(image['trained_at'][1])}" for image in used)
        captions = {str(image["caption"]) for image in used} - {""}
        return _Dataset(sizes, len(captions), sum(bool(image["mask"]) for image in used))
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return _Dataset()
