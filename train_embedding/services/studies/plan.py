"""The plan of a study: its training runs, each with an id that depends on nothing but what the run is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidInput
from train_embedding.messages import Message, joined, plural, verbatim

MAX_RUNS = 10_000
"Largest number of runs of a study."
_HASH_DIGITS = 8


@dataclass(frozen=True)
class PlannedRun:
    """A training run of a study. It can be sent to another process as JSON values."""

    embedding: str
    "Name of the new embedding."
    dataset: str
    "Absolute path of the folder of images; empty for a run that distils a prompt."
    init_text: str = ""
    vectors: int | str = "auto"
    'Number of vectors, or "auto".'
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    'Options of the run that were given, with "preset" and "seed".'
    checkpoint: str = ""
    "Path of the checkpoint file or diffusers folder; empty for the demo checkpoint."
    images: int = 2
    "Number of images that are generated with the result for each of the preview prompts."
    recipe: str = ""
    "What the study calls the preset or options."
    written: str = ""
    "The dataset as the study names it. The id depends on it instead of on the path, so that a study can be moved."

    @property
    def id(self) -> str:
        """The name of the embedding, and a hash of all that the result depends on."""
        facts = {
            "embedding": self.embedding,
            "dataset": self.written or self.dataset,
            "init_text": self.init_text,
            "vectors": self.vectors,
            "options": dict(self.options),
            "checkpoint": self.checkpoint.replace("\\", "/").rpartition("/")[2],
        }
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        return f"{self.embedding}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:_HASH_DIGITS]}"

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.options.get("seed", 0))

    def spec(self) -> TrainingSpec:
        """Return the options of the training run.

        Raises:
            InvalidSpec: An option is unknown or has a value that is not allowed.
        """
        # Each run has a data folder of its own, where a cache of latents would be read by no other run.
        values = {"cache_latents_to_disk": False, **self.options}
        return TrainingSpec.from_json({**values, "embedding": self.embedding, "dataset": self.dataset})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, from which `from_json` makes an equal run; the id is added for readers."""
        return {"id": self.id, **asdict(replace(self, options=dict(self.options)))}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PlannedRun:
        """Build a run from the values of `to_json`."""
        return cls(**{name: value for name, value in values.items() if name != "id"})


@dataclass(frozen=True)
class Study:
    """Training runs that belong together, in the order in which they are started."""

    name: str
    runs: tuple[PlannedRun, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"name": self.name, "runs": [run.to_json() for run in self.runs]}


class InvalidStudy(InvalidInput):
    """A study with entries that cannot be used; nothing of it has been started.

    Attributes:
        problems: A sentence for each, which begins with the place of the entry.
    """

    def __init__(self, problems: list[Message]) -> None:
        summary = plural(
            "The study has {count} problem, so nothing was started.",
            "The study has {count} problems, so nothing was started.",
            len(problems),
        )
        super().__init__(joined((summary, *problems), verbatim("\n")))
        self.summary = summary
        self.problems = tuple(problems)
