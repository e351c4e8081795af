"""The demo: create an embedding, train it on sample images, and compare before and after."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from train_embedding.demo.heldout import GUIDANCE, HeldOut
from train_embedding.demo.sets import SETS, SampleSet
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config import TrainingSpec
from train_embedding.engine.prompts.tokenizer import FOLDER as TOKENIZER_FILES
from train_embedding.engine.training.early_stopping import paired_difference
from train_embedding.errors import InvalidInput, StorageFailed, TrainingFailed
from train_embedding.hosts.standalone import DEMO_CHECKPOINT, StandaloneHost
from train_embedding.messages import msg
from train_embedding.services import Services
from train_embedding.services.training import Runs, RunState

_REPEATS, _IMAGES_PER_PROMPT = 24, 8
"Evaluations of each held-out image, and generated images of each prompt."
_SHOWN = 16
"Generated images of each kind on the sheet."


@dataclass(frozen=True)
class DemoResult:
    """Result of the demo. Losses are means over the held-out items; distances, 0…1, are means over the generated images."""

    embedding: str
    steps: int
    seconds: float
    loss_before: float
    loss_after: float
    standard_error: float
    "Standard error of the paired difference of the losses."
    concept_distance_before: float
    concept_distance_after: float
    sheet: str


def run_demo(
    set_name: str = "lime",
    output: Path = Path("demo-output"),
    *,
    seed: int = 0,
    follow: Callable[[Runs, RunState], RunState] = lambda runs, state: runs.wait(state.id),
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Run the demo on a sample set, with the data folder output/data, and write output/<set>.png.

    Args:
        set_name: The sample set.
        output: Folder for the results.
        seed: Seed of the training run.
        follow: Waits for the end of a run; may show its progress.
        say: Is called with sentences about the progress.

    Raises:
        InvalidInput: There is no such sample set.
        TrainingFailed: The run failed.
    """
    if set_name not in SETS:
        raise InvalidInput(
            msg('There is no sample set "{name}".', name=set_name), msg("Use one of {names}.", names=", ".join(SETS))
        )
    sample_set = SETS[set_name]
    host = StandaloneHost(output / "data")
    started = time.monotonic()
    services = Services(host)
    before, after, state = _trained(services, sample_set, seed, follow, say)
    with host.model() as model:
        held_out = HeldOut(model, sample_set.heldout_folder, before.name, repeats=_REPEATS)
        losses = [held_out.losses(embedding.vectors) for embedding in (before, after)]
        prompts = [prompt for prompt in sample_set.prompts for _ in range(_IMAGES_PER_PROMPT)]
        drawn = [held_out.draw(embedding, prompts) for embedding in (before, after)]
    difference, error = paired_difference(losses[0] - losses[1])
    distances = [sum(map(sample_set.distance, images)) / len(images) for images in drawn]
    sheet = output / f"{set_name}.png"
    _write_sheet(sheet, sample_set, drawn)
    say(
        f"Loss on {len(losses[0])} held-out items: {losses[0].mean():.4f} → {losses[1].mean():.4f}, "
        f"a decrease of {difference / error:.1f} standard errors."
    )
    say(f"Distance of generated images from the concept ({sample_set.measures}): {distances[0]:.3f} → {distances[1]:.3f}.")
    say(f"Images before and after: {sheet}")
    return DemoResult(
        embedding=str(services.library.get(before.name).file),
        steps=state.step,
        seconds=round(time.monotonic() - started, 1),
        loss_before=float(losses[0].mean()),
        loss_after=float(losses[1].mean()),
        standard_error=error,
        concept_distance_before=distances[0],
        concept_distance_after=distances[1],
        sheet=str(sheet),
    )


def export_checkpoint(folder: Path) -> Path:
    """Copy the demo checkpoint to a folder of checkpoints, with its text encoder, whose absolute path is in the config.

    Returns:
        The path of the copied checkpoint.

    Raises:
        StorageFailed: A file cannot be copied.
    """
    source = DEMO_CHECKPOINT.parent
    try:
        target = folder.resolve()
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(DEMO_CHECKPOINT, target / DEMO_CHECKPOINT.name)
        for files in (source / "clip", TOKENIZER_FILES):
            shutil.copytree(files, target / "demo-clip", dirs_exist_ok=True)
        config = (source / "demo.yaml").read_text(encoding="utf-8")
        absolute = config.replace("version: clip\n", f'version: "{(target / "demo-clip").as_posix()}"\n')
        (target / "demo.yaml").write_text(absolute, encoding="utf-8")
    except OSError as error:
        raise StorageFailed(
            msg('Cannot copy the demo checkpoint to "{folder}": {reason}.', folder=folder, reason=error.strerror)
        ) from error
    return target / DEMO_CHECKPOINT.name


def _trained(
    services: Services,
    sample_set: SampleSet,
    seed: int,
    follow: Callable[[Runs, RunState], RunState],
    say: Callable[[str], None],
) -> tuple[Embedding, Embedding, RunState]:
    """Create the embedding of a set and train it; return the embedding before and after, and the state of the run."""
    name = f"my-{sample_set.name}"
    created = services.library.create(name, sample_set.init_text, overwrite=True)
    count = created.entry.vectors
    say(f'Created {name} from the text "{sample_set.init_text}", with {count} {"vector" if count == 1 else "vectors"}.')
    before = services.library.read(name)
    spec = TrainingSpec.from_json(
        {
            "embedding": name,
            "dataset": str(sample_set.training_folder),
            "preset": "Fast",
            "template": ["[filewords]"],
            "seed": seed,
            "preview_prompt": sample_set.prompts[0].format("[name]"),
            "preview_guidance": GUIDANCE,
        }
    )
    state = follow(services.runs, services.runs.start(spec))
    if state.error:
        raise TrainingFailed(state.error, state.hint)
    say(f"Trained {name} on the images in {sample_set.training_folder}: {state.step} steps in {state.seconds:.0f} s.")
    return before, services.library.read(name), state


def _write_sheet(file: Path, sample_set: SampleSet, drawn: Sequence[Sequence[Image.Image]]) -> None:
    """Save the training images and images generated before and after training with the same prompts and seeds."""
    training = [Image.open(path, formats=("PNG",)) for path in sorted(sample_set.training_folder.glob("*.png"))]
    shown = [images[:: len(images) // _SHOWN] for images in drawn]
    side, columns, margin = drawn[0][0].width * 2, 8, 22
    rows = [
        ("training images", training),
        (f'generated with "{sample_set.init_text}", before training', shown[0]),
        ("generated after training", shown[1]),
    ]
    height = sum(margin + -(-len(images) // columns) * (side + 4) for _, images in rows)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, height + 4), "white")
    pen = ImageDraw.Draw(sheet)
    top = 4
    for title, images in rows:
        pen.text((6, top + 4), title, fill="black")
        top += margin
        for index, image in enumerate(images):
            enlarged = image.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (4 + index % columns * (side + 4), top + index // columns * (side + 4)))
        top += -(-len(images) // columns) * (side + 4)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
