"""The main job on sample pictures: creates an embedding, trains it, and measures and draws before and after."""

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
from train_embedding.services import Services
from train_embedding.services.training import Runs, RunState

_SHOWN = 16
"Pictures of each kind on the sheet."


@dataclass(frozen=True)
class DemoResult:
    """Losses are means over the fixed items of the held-out pictures; distances are means over the pictures drawn, 0…1."""

    embedding: str
    steps: int
    seconds: float
    loss_before: float
    loss_after: float
    standard_error: float
    "Of the paired difference of the losses."
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
    """Runs the main job on one sample set, in a data folder at output/data; writes output/<set>.png.

    follow: waits for the end of a run, showing it if it likes. say: gets sentences for people.
    Raises InvalidInput for a set that there is none of, and whatever ends the run.
    """
    if set_name not in SETS:
        raise InvalidInput(f'There is no sample set "{set_name}".', f"Sample sets are {', '.join(SETS)}.")
    sample_set = SETS[set_name]
    host = StandaloneHost(output / "data")
    started = time.monotonic()
    services = Services(host)
    before, after, state = _trained(services, sample_set, seed, follow, say)
    with host.model() as model:
        held_out = HeldOut(model, sample_set, before.name, before.count)
        losses = [held_out.losses(embedding.vectors) for embedding in (before, after)]
        drawn = [held_out.draw(embedding) for embedding in (before, after)]
    difference, error = paired_difference(losses[0] - losses[1])
    distances = [held_out.distance(pictures) for pictures in drawn]
    sheet = output / f"{set_name}.png"
    _write_sheet(sheet, sample_set, drawn)
    say(
        f"Loss on {len(losses[0])} held-out items: {losses[0].mean():.4f} → {losses[1].mean():.4f}, "
        f"down by {difference / error:.1f} standard errors."
    )
    say(f"Distance from the concept ({sample_set.measures}): {distances[0]:.3f} → {distances[1]:.3f}.")
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
    """Copy the demo checkpoint to a WebUI's checkpoint folder, with a text encoder folder that its config names absolutely.

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
        raise StorageFailed(f'The demo checkpoint could not be copied to "{folder}": {error.strerror}.') from error
    return target / DEMO_CHECKPOINT.name


def _trained(
    services: Services,
    sample_set: SampleSet,
    seed: int,
    follow: Callable[[Runs, RunState], RunState],
    say: Callable[[str], None],
) -> tuple[Embedding, Embedding, RunState]:
    """Creates the set's embedding and trains it; gives it as it was and as it is, and the ended run."""
    name = f"my-{sample_set.name}"
    created = services.library.create(name, sample_set.init_text, overwrite=True)
    say(f'Created "{name}" from the text "{sample_set.init_text}": {created.entry.vectors} vector(s).')
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
    say(f"Trained {state.step} steps in {state.seconds:.0f} s on {sample_set.training_folder}.")
    return before, services.library.read(name), state


def _write_sheet(file: Path, sample_set: SampleSet, drawn: Sequence[Sequence[Image.Image]]) -> None:
    """Training pictures, then pictures drawn before and after training with the same prompts and seeds, twice their size."""
    training = [Image.open(path, formats=("PNG",)) for path in sorted(sample_set.training_folder.glob("*.png"))]
    shown = [pictures[:: len(pictures) // _SHOWN] for pictures in drawn]
    side, columns, margin = drawn[0][0].width * 2, 8, 22
    rows = [
        ("training pictures", training),
        (f'drawn with "{sample_set.init_text}", before', shown[0]),
        ("drawn after training", shown[1]),
    ]
    height = sum(margin + -(-len(pictures) // columns) * (side + 4) for _, pictures in rows)
    sheet = Image.new("RGB", (columns * (side + 4) + 4, height + 4), "white")
    pen = ImageDraw.Draw(sheet)
    top = 4
    for title, pictures in rows:
        pen.text((6, top + 4), title, fill="black")
        top += margin
        for index, picture in enumerate(pictures):
            enlarged = picture.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (4 + index % columns * (side + 4), top + index // columns * (side + 4)))
        top += -(-len(pictures) // columns) * (side + 4)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file)
