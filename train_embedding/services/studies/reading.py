"""Reads studies: YAML files, CSV tables, and folders with one subject per subfolder.

A reader collects the problems of all entries before it raises an error, so that they can be corrected at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, cast

import yaml

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.config.presets import PRESET_NAMES
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import InvalidInput, InvalidOption, NotFound, TrainEmbeddingError, UnreadableFile, cannot_read
from train_embedding.messages import COLON, SPACE, Message, joined, msg, verbatim
from train_embedding.services.library.create import check_request
from train_embedding.services.presets import MAX_SIZE as MAX_PRESET
from train_embedding.services.presets import decode_preset
from train_embedding.services.studies.addresses import exists, is_address, joined_address, last_name, local_copy, subfolders
from train_embedding.services.studies.plan import MAX_RUNS, InvalidStudy, PlannedRun, Study
from train_embedding.services.typed_paths import typed_path, typed_text

MAX_SIZE = 2**22
"Largest size of a study file in bytes."
_OPTIONS = {option.name: option for option in OPTIONS if option.name not in ("embedding", "dataset")}
_TOP = ("name", "checkpoint", "datasets", "init_texts", "vectors", "recipes", "seeds", "options", "images", "runs")
_OF_DATASET = ("name", "folder", "init_text", "vectors", "checkpoint")
_OF_RECIPE = ("name", "vectors")
_OF_ROW = ("name", "dataset", "init_text", "vectors", "checkpoint", "recipe", "images")
_FLAGS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}

Values = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What the command line adds to a study; it applies to every run that does not say otherwise.

    Attributes:
        checkpoint: Path of the checkpoint, in place of the file's.
        init_text: Init text of datasets without one.
        vectors: Number of vectors, or "auto".
        presets: Presets, if the study names no recipes.
        seeds: Seeds, if the study names none.
        options: Options of all runs, as text, in place of those of the file.
    """

    checkpoint: str = ""
    init_text: str = ""
    vectors: int | str = "auto"
    presets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])


def read_study(file: Path, given: Given) -> Study:
    """Read a study from a `.yaml`, `.yml` or `.csv` file.

    Raises:
        NotFound: The file does not exist.
        UnreadableFile: It cannot be read, or is not YAML or CSV.
        InvalidStudy: It has entries that cannot be used.
    """
    text = _text_of(file)
    reader = _Reader(file.parent, given)
    name = reader.table(text, file.stem) if file.suffix.lower() == ".csv" else reader.document(text, file)
    return reader.study(name)


def folder_study(folder: Path | str, given: Given) -> Study:
    """Make a study of a folder, at a path or address: each subfolder is the dataset of an embedding that is named after it.

    Raises:
        NotFound: The folder does not exist.
        StorageFailed: The address cannot be read.
        InvalidStudy: It has no subfolders, or they cannot be used.
    """
    if isinstance(folder, str) and is_address(folder):
        return _folder_study(_Reader(Path(), given), folder, last_name(folder), subfolders(folder))
    path = Path(folder)
    if not path.is_dir():
        raise NotFound(msg('The folder "{folder}" does not exist.', folder=path))
    found = sorted(each.name for each in path.iterdir() if each.is_dir())
    return _folder_study(_Reader(path, given), "", path.resolve().name, found)


class _Reader:
    """Collects the runs and the problems of one study. Relative paths begin at `base`."""

    def __init__(self, base: Path, given: Given) -> None:
        self._base = base
        self._given = given
        self._runs: list[PlannedRun] = []
        self._places: dict[str, str] = {}
        self._problems: list[Message] = []
        self._checked: dict[tuple[str, bool, str], Message | None] = {}

    def study(self, name: str) -> Study:
        """Return what was read. Raises InvalidStudy."""
        if not self._runs and not self._problems:
            self.problem(verbatim("study"), msg("It has no runs."))
        if self._problems:
            raise InvalidStudy(list(dict.fromkeys(self._problems)))
        # Runs of one checkpoint follow each other, so that a worker loads each once.
        order = list(dict.fromkeys(run.checkpoint for run in self._runs))
        return Study(name, tuple(sorted(self._runs, key=lambda run: order.index(run.checkpoint))))

    def problem(self, place: str, problem: Message) -> None:
        self._problems.append(joined((verbatim(place), problem), COLON))

    def table(self, text: str, name: str) -> str:
        """Read a CSV table, one run per line; return the name of the study."""
        try:
            rows = list(csv.DictReader(io.StringIO(text), strict=True))
        except csv.Error as error:
            raise UnreadableFile(msg("The table is not valid CSV: {reason}.", reason=error)) from error
        unknown = [column for column in (rows[0] if rows else {}) if column not in (*_OF_ROW, *_OPTIONS)]
        for column in unknown:
            self.problem("line 1", self._unknown(str(column), (*_OF_ROW, *_OPTIONS)))
        for number, row in enumerate(rows, 2):
            place = f"line {number}"
            values: Values = {str(column): text.strip() for column, text in row.items() if isinstance(text, str) and text.strip()}
            if values and not unknown:
                self._row(place, self._from_text(place, values))
        return name

    def document(self, text: str, file: Path) -> str:
        """Read a YAML document; return the name of the study."""
        try:
            values = yaml.load(text, _Loader)  # a SafeLoader
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise UnreadableFile(
                msg('"{file}" is not valid YAML: {reason}', file=file.name, reason=" ".join(str(error).split()))
            ) from error
        study = self._mapping("study", values, _TOP)
        self.grid(study)
        for number, row in enumerate(self._list("runs", study.get("runs", [])), 1):
            place = f"runs[{number}]"
            self._row(place, {**self._common(study), **self._mapping(place, row, (*_OF_ROW, *_OPTIONS))})
        return self._text("name", study.get("name", file.stem)) or file.stem

    def grid(self, study: Values) -> None:
        """Add the combinations of datasets, init texts, recipes and seeds."""
        datasets = [self._dataset(f"datasets[{number}]", item) for number, item in self._items(study, "datasets")]
        recipes = [self._recipe(f"recipes[{number}]", item) for number, item in self._items(study, "recipes")]
        recipes = recipes or [{"recipe": preset, "preset": preset} for preset in self._given.presets] or [{}]
        seeds: list[object] = [item for _, item in self._items(study, "seeds")] or [*self._given.seeds] or [None]
        texts: list[object] = [item for _, item in self._items(study, "init_texts")] or [self._given.init_text]
        counts = [len(self._texts(dataset, texts)) for dataset in datasets if dataset is not None]
        if sum(counts) * len(recipes) * len(seeds) > MAX_RUNS:
            self.problem("study", msg("It has more than {most} runs.", most=MAX_RUNS))
            return
        common = self._common(study)
        for number, dataset in enumerate(datasets, 1):
            for text, recipe, seed in product(self._texts(dataset, texts), recipes, seeds):
                if dataset is not None and recipe is not None:
                    seeded = {} if seed is None else {"seed": seed}
                    self._row(f"datasets[{number}]", {**common, **recipe, **dataset, "init_text": text, **seeded})

    def _row(self, place: str, values: Values) -> None:
        """Add a run, or the reason why it cannot be used."""
        try:
            run = self._run(place, values)
            check_request(run.embedding, run.init_text, run.vectors, ".pt", "tokens")
            spec = run.spec()
        except InvalidOption as error:
            self.problem(place, error.shown_as(verbatim(error.option)).text)
        except TrainEmbeddingError as error:
            self.problem(place, error.text)
        else:
            problem = self._problem_of_dataset(spec)
            if problem is not None:
                self.problem(place, problem)
            elif run.id in self._places:
                self.problem(place, msg("This is the same run as in {place}.", place=self._places[run.id]))
            self._places.setdefault(run.id, place)
            self._runs.append(run)

    def _run(self, place: str, values: Values) -> PlannedRun:
        """Build a run from the values of a row. Raises TrainEmbeddingError."""
        written = self._text("dataset", values.get("dataset", ""))
        dataset = self._place(written) if written else ""
        options = {name: value for name, value in values.items() if name in _OPTIONS}
        options.update(self._from_text(place, dict(self._given.options)))
        options = self._with_preset(options)
        name = self._text("name", values.get("name", "")) or Path(dataset).name
        return PlannedRun(
            embedding=name,
            dataset=dataset,
            init_text=self._text("init_text", values.get("init_text", self._given.init_text)),
            vectors=self._vectors(values.get("vectors", self._given.vectors)),
            options=dict(sorted(options.items())),
            checkpoint=self._checkpoint(values),
            images=self._images(values.get("images", 2)),
            recipe=self._text("recipe", values.get("recipe", "")) or str(options.get("preset", "Fast")),
            written=written,
        )

    def _common(self, study: Values) -> Values:
        """Return the values that hold for every run of a document."""
        options = self._mapping("options", study.get("options", {}), tuple(_OPTIONS))
        return {**{name: study[name] for name in ("checkpoint", "vectors", "images") if name in study}, **options}

    def _dataset(self, place: str, item: object) -> Values | None:
        """Return the values of a dataset: a folder, or a mapping; None if it cannot be used."""
        if isinstance(item, str):
            return {"dataset": item}
        before = len(self._problems)
        values = self._mapping(place, item, (*_OF_DATASET, *_OPTIONS))
        if "folder" in values:
            values["dataset"] = values.pop("folder")
        return values if len(self._problems) == before else None

    def _recipe(self, place: str, item: object) -> Values | None:
        """Return the values of a recipe: the name of a preset, or a mapping; None if it cannot be used."""
        if isinstance(item, str):
            return {"recipe": item, "preset": item}
        before = len(self._problems)
        values = self._mapping(place, item, (*_OF_RECIPE, *_OPTIONS))
        if "name" in values:
            values["recipe"] = values.pop("name")
        return values if len(self._problems) == before else None

    def _texts(self, dataset: Values | None, texts: list[object]) -> list[object]:
        own: object = (dataset or {}).get("init_text", texts)
        return cast("list[object]", own) if isinstance(own, list) else [own]

    def _items(self, study: Values, key: str) -> Iterator[tuple[int, object]]:
        return enumerate(self._list(key, study.get(key, [])), 1)

    def _list(self, place: str, value: object) -> list[object]:
        if isinstance(value, list):
            return cast("list[object]", value)
        if value is not None:
            self.problem(place, msg("It must be a list."))
        return []

    def _mapping(self, place: str, value: object, known: Sequence[str]) -> Values:
        """Return a mapping with known names alone; the others are problems."""
        if not isinstance(value, dict):
            self.problem(place, msg("It must have the form NAME: VALUE."))
            return {}
        values = cast("Values", value)
        for name in values:
            if name not in known:
                self.problem(place, self._unknown(str(name), known))
        return {name: value for name, value in values.items() if name in known}

    def _unknown(self, name: str, known: Sequence[str]) -> Message:
        sentence = msg('There is no option "{name}" here.', name=name)
        return joined((sentence, msg("The options are {names}.", names=joined(sorted(known)))), SPACE)

    def _text(self, name: str, value: object) -> str:
        """Return a text. Raises InvalidInput for anything else: YAML reads `no` as false."""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise InvalidInput(msg('"{name}" must be text.', name=name), msg("Put it in quotes."))

    def _vectors(self, value: object) -> int | str:
        if isinstance(value, str) and value.strip().isdecimal():
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) else self._text("vectors", value)

    def _images(self, value: object) -> int:
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if not text.isdecimal() or int(text) > 100:
            raise InvalidInput(msg('"{name}" must be a whole number from 0 to 100.', name=verbatim("images")))
        return int(text)

    def _checkpoint(self, values: Values) -> str:
        """Return the path or address of the checkpoint. Raises NotFound, InvalidInput, StorageFailed."""
        given = self._given.checkpoint
        written = "" if given else self._text("checkpoint", values.get("checkpoint", ""))
        place = self._place(written) if written else given if is_address(given) or not given else str(Path(given).absolute())
        if place and not (exists(place) if is_address(place) else Path(place).exists()):
            raise NotFound(msg('The checkpoint "{path}" does not exist.', path=place))
        return place

    def _place(self, written: str) -> str:
        """Return the absolute path, or the address, of what a study names."""
        return text if is_address(text := typed_text(written)) else str(self._path(written))

    def _path(self, written: str) -> Path:
        return (self._base / typed_path(written)).absolute()

    def _with_preset(self, options: Values) -> Values:
        """Return the options with a preset of the program; "preset" may name the file of another one.

        Raises:
            NotFound: There is neither a preset nor a file of that name.
            UnreadableFile: The file is not a preset.
        """
        name = options.get("preset", "Fast")
        if not isinstance(name, str) or name in PRESET_NAMES:
            return options
        file = self._path(name)
        if file.suffix != ".json" or not file.is_file():
            raise NotFound(
                msg('There is no preset "{name}".', name=name),
                msg("Use one of {names}, or the .json file of a preset.", names=joined(PRESET_NAMES)),
            )
        preset = decode_preset(read_regular_file(file, MAX_PRESET + 1))
        return {**preset.to_json()["options"], **options, "preset": preset.based_on}

    def _from_text(self, place: str, values: Values) -> Values:
        """Return values in which texts have the types of their options; what cannot be converted is a problem or stays text."""
        unknown = [name for name in values if name not in (*_OPTIONS, *_OF_ROW)]
        for name in unknown:
            self.problem(place, self._unknown(name, tuple(_OPTIONS)))
        return {name: _typed(name, text) for name, text in values.items() if name not in unknown}

    def _problem_of_dataset(self, spec: TrainingSpec) -> Message | None:
        """Return why a dataset cannot be trained on; None if it can. Each is opened once."""
        if spec.distills:
            return None
        key = (spec.dataset, spec.repeats, spec.masks)
        if key not in self._checked:
            self._checked[key] = _problem_of_folder(spec.dataset, spec.repeats, spec.masks)
        return self._checked[key]


def _folder_study(reader: _Reader, address: str, name: str, found: Sequence[str]) -> Study:
    datasets = [joined_address(address, each) if address else each for each in found if not each.startswith(".")]
    if not datasets:
        reader.problem(name, msg("There are no subfolders; each should contain the images of one subject."))
    reader.grid({"datasets": datasets})
    return reader.study(name)


def _typed(name: str, text: object) -> object:
    kind = _OPTIONS[name].kind if name in _OPTIONS else "text"
    if not isinstance(text, str):
        return text
    if kind == "flag":
        return _FLAGS.get(text.strip().lower(), text)
    if kind in ("integer", "number"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            return text  # the check of the option says what it must be
    return text


def _problem_of_folder(place: str, repeats: bool, masks: str) -> Message | None:
    from train_embedding.engine.data.image_folder import check_image, list_images, no_usable_images, skipped_file

    try:
        folder = local_copy(place) if is_address(place) else Path(place)
        if not folder.is_dir():
            return msg('The folder "{folder}" does not exist.', folder=place)
        files, skipped = list_images(folder, repeats, None)
    except TrainEmbeddingError as error:
        return error.text
    for file, _repeats in files:
        try:
            check_image(file, None, masks)
        except UnreadableFile as error:
            skipped.append(skipped_file(file.relative_to(folder).as_posix(), error))
        else:
            return None
    return no_usable_images(folder, skipped).text


def _text_of(file: Path) -> str:
    try:
        data = read_regular_file(file, MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise UnreadableFile(msg('"{file}" is larger than {limit} MB.', file=file.name, limit=MAX_SIZE // 2**20))
        return data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound(msg('The file "{file}" does not exist.', file=file)) from error
    except OSError as error:
        raise UnreadableFile(cannot_read(file.name, error)) from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(msg('"{file}" is not a text file in UTF-8.', file=file.name)) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which can make a small file huge, and without repeated names."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # pyright: ignore[reportUnknownMemberType]
            raise yaml.YAMLError("aliases (*name) are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = sorted({str(name) for name in names if names.count(name) > 1})
        if repeated:
            raise yaml.YAMLError(f"{', '.join(repeated)} is given twice in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)
