"""What a grid shows: prompts and settings as its columns, vectors as its rows, and the record of it in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.config.rules import check_option
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import InvalidInput, InvalidOption
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.messages import NOTHING, Message, decode, encode, msg

if TYPE_CHECKING:
    from train_embedding.hosts.base import HostInfo

GridStatus = Literal["drawing", "stopping", "finished", "stopped", "failed"]
"What a grid is doing. A grid whose process ended while it was drawn is stopped."
GRID_FILE = "grid.json"
MAX_PROMPTS = 16
MAX_ROWS = 60
MAX_PROMPT = 10_000
"Characters."
SHOWN_STEPS = 8
"Number of steps that a grid shows unless others are chosen."
_MAX_RECORD = 8 * 2**20
_BY_NAME = {option.name: option for option in OPTIONS}
_CHECKED = {
    "seed": ("preview_seed", msg("Seed")),
    "sampling_steps": ("preview_steps", msg("Sampling steps")),
    "guidance": ("preview_guidance", msg("CFG scale")),
    "width": ("width", msg("Width")),
    "height": ("height", msg("Height")),
}
"The option of a training run whose bounds a field has, and the field's label."


@dataclass(frozen=True)
class GridOptions:
    """The prompts of a grid, and how each image is generated."""

    prompts: tuple[str, ...] = ("[name]",)
    "[name] stands for the trigger word."
    negative_prompt: str = ""
    seed: int = 1
    sampling_steps: int = 20
    guidance: float = 7.0
    "CFG scale."
    width: int = 0
    "In pixels; 0 for the native size of the checkpoint."
    height: int = 0

    def checked(self) -> GridOptions:
        """Return the options without spaces around the prompts.

        Raises:
            InvalidInput: There is no prompt or there are too many, or a value cannot be used.
        """
        prompts = tuple(prompt.strip() for prompt in self.prompts if prompt.strip())
        if not prompts:
            raise InvalidInput(
                msg("There are no prompts."),
                msg("Enter at least one, such as {example}.", example='"a photo of [name]"'),
            )
        if len(prompts) > MAX_PROMPTS:
            raise InvalidInput(
                msg("There are {count} prompts; a grid has at most {limit}.", count=len(prompts), limit=MAX_PROMPTS)
            )
        for name, (option, label) in _CHECKED.items():
            try:
                check_option(_BY_NAME[option], getattr(self, name))
            except InvalidOption as error:
                raise error.shown_as(label) from error
        for prompt in prompts:
            _check_prompt(prompt, self.sampling_steps, negative=False)
        _check_prompt(self.negative_prompt, self.sampling_steps, negative=True)
        return replace(self, prompts=prompts)

    def sized_for(self, resolution: int) -> GridOptions:
        """Return the options with the size of the images, by default that of the checkpoint."""
        return replace(self, width=self.width or resolution, height=self.height or resolution)

    def request(self, prompt: str, name: str, embeddings: tuple[Embedding, ...] = ()) -> Txt2ImgRequest:
        """Return what the host generates for a cell: the request of a preview with the same values.

        Args:
            prompt: One of `prompts`.
            name: The embedding that [name] stands for.
            embeddings: Its vectors.
        """
        return Txt2ImgRequest(
            prompt=prompt.replace("[name]", name),
            negative_prompt=self.negative_prompt.replace("[name]", name),
            steps=self.sampling_steps,
            guidance=self.guidance,
            seed=self.seed,
            width=self.width,
            height=self.height,
            embeddings=embeddings,
        )


@dataclass(frozen=True)
class Row:
    """The vectors of one row."""

    step: int
    "The step of a run, 0 for its start; for an embedding, how long it was trained."
    embedding: str
    digest: str
    "SHA-256 of the vectors."
    run: str = ""
    "The run that the step is of, where embeddings and runs are compared; empty for an embedding."


@dataclass(frozen=True)
class Grid:
    """A grid, as its file records it. Images are files named after `cell_keys`, in its folder."""

    run: str
    "Id of the run whose steps are compared; empty if embeddings are."
    options: GridOptions
    rows: tuple[Row, ...]
    checkpoint: str = ""
    "Name of the checkpoint that draws the images."
    checkpoint_hash: str = ""
    status: GridStatus = "drawing"
    error: Message = NOTHING
    hint: Message = NOTHING
    notes: tuple[Message, ...] = ()

    def cell_keys(self) -> tuple[tuple[str, ...], ...]:
        """Return the name of each cell's file without suffix, by row: a hash of all that its image depends on."""
        return tuple(tuple(self._key(row, prompt) for prompt in self.options.prompts) for row in self.rows)

    def _key(self, row: Row, prompt: str) -> str:
        settings = {**asdict(self.options), "prompts": prompt}
        facts = [row.embedding, row.digest, settings, self.checkpoint, self.checkpoint_hash]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def save(self, folder: Path) -> None:
        """Write the record, atomically. Raises StorageFailed."""
        record = {**asdict(self), "error": encode(self.error), "hint": encode(self.hint)}
        record["notes"] = [encode(note) for note in self.notes]
        write_atomically(folder / GRID_FILE, json.dumps(record, indent=1).encode())


def load_grid(folder: Path) -> Grid | None:
    """Read the record in a folder; None if there is none that can be read. A grid that was being drawn is stopped."""
    try:
        data = read_regular_file(folder / GRID_FILE, _MAX_RECORD)
        values: Any = json.loads(data.decode("utf-8"))
        chosen: dict[str, Any] = {field.name: values[field.name] for field in fields(Grid)}
        options: dict[str, Any] = {field.name: values["options"][field.name] for field in fields(GridOptions)}
        options["prompts"] = tuple(options["prompts"])
        chosen["options"] = GridOptions(**options).checked()
        chosen["rows"] = tuple(_row_from(row) for row in values["rows"])
        chosen["error"], chosen["hint"] = decode(values["error"]), decode(values["hint"])
        chosen["notes"] = tuple(decode(note) for note in values["notes"])
        grid = Grid(**chosen)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidInput):
        return None
    if grid.status not in get_args(GridStatus):
        return None
    return replace(grid, status="stopped") if grid.status in ("drawing", "stopping") else grid


def _row_from(values: Any) -> Row:
    return Row(int(values["step"]), str(values["embedding"]), str(values["digest"]), str(values.get("run", "")))


def digest_of(embedding: Embedding) -> str:
    """Return the SHA-256 of an embedding's vectors."""
    digest = hashlib.sha256()
    for key, vectors in embedding.vectors.items():
        digest.update(f"{key} {tuple(vectors.shape)}".encode())
        digest.update(vectors.numpy().tobytes())
    return digest.hexdigest()


def preview_options(spec: TrainingSpec) -> GridOptions:
    """Return the options with which a run draws its previews."""
    return GridOptions(
        prompts=tuple(spec.preview_prompts()[:MAX_PROMPTS]),
        negative_prompt=spec.preview_negative_prompt,
        seed=spec.preview_seed,
        sampling_steps=spec.preview_steps,
        guidance=spec.preview_guidance,
        width=spec.width,
        height=spec.height,
    )


def spread_steps(steps: Sequence[int], wanted: Sequence[int | None], count: int = SHOWN_STEPS) -> list[int]:
    """Return at most `count` of the steps, evenly spaced: the first, the last and the wanted ones among them."""
    fixed = [step for step in dict.fromkeys([*steps[:1], *wanted, *steps[-1:]]) if step in steps]
    chosen = {step for step in fixed if step is not None}
    if len(steps) <= count:
        return list(steps)
    others = [step for step in steps if step not in chosen]
    room = count - len(chosen)
    chosen |= {others[(2 * number + 1) * len(others) // (2 * room)] for number in range(room)}
    return sorted(chosen)


def parse_prompts(text: str) -> tuple[str, ...]:
    """Return the prompts in a text with one per line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def parse_steps(text: str) -> tuple[int, ...]:
    """Return the steps in a text such as "0, 60, 120"; an empty text gives none.

    Raises:
        InvalidInput: A part is not a number.
    """
    parts = text.replace(",", " ").replace("，", " ").replace("、", " ").split()
    for part in parts:
        if not part.isdecimal() or len(part) > 9:
            raise InvalidInput(
                msg('"{text}" is not a step.', text=part[:40]),
                msg("Write the numbers of steps, such as {example}.", example="0, 60, 120"),
            )
    return tuple(sorted({int(part) for part in parts}))


def check_same_checkpoint(grid: Grid, info: HostInfo) -> bool:
    """Whether the host has the checkpoint that draws the grid."""
    return (grid.checkpoint, grid.checkpoint_hash) == (info.checkpoint_name, info.checkpoint_hash)


def _check_prompt(prompt: str, steps: int, *, negative: bool) -> None:
    """Raise InvalidInput unless the prompt can be read."""
    from train_embedding.engine.prompts.attention_syntax import parse_attention
    from train_embedding.engine.prompts.prompt_editing import schedule_negative_prompt, schedule_prompt

    if len(prompt) > MAX_PROMPT:
        raise InvalidInput(
            msg("The prompt has {length} characters; at most {limit} are allowed.", length=len(prompt), limit=MAX_PROMPT)
        )
    try:
        parts = [schedule_negative_prompt(prompt, steps)] if negative else schedule_prompt(prompt, steps)
        for part in parts:
            for text in part.texts:
                parse_attention(text)
    except InvalidInput as error:
        raise InvalidInput(
            msg('The prompt "{prompt}" cannot be read. {problem}', prompt=prompt[:200], problem=error.message), error.hint
        ) from error
