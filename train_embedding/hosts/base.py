"""What Train Embedding needs from the program it runs in, as a protocol of few methods and facts as data."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from train_embedding.embeddings.embedding import Embedding

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel


@dataclass(frozen=True)
class HostInfo:
    """Facts about the host at this moment."""

    name: str
    "The host and its version, for people."
    embeddings_folder: Path
    runs_folder: Path
    templates_folder: Path | None = None
    "Caption templates (`textual_inversion_templates` in the WebUI)."
    checkpoint_name: str = ""
    "Name of the loaded checkpoint; empty when none is loaded."
    checkpoint_hash: str = ""
    widths: dict[str, int] = field(default_factory=dict)
    'Width of a vector per text encoder, such as {"clip_l": 768}.'
    device: str = "cpu"
    dtype: str = "float32"
    resolution: int = 512
    "Side in pixels of the square pictures that the checkpoint was trained for."
    allowed_folders: tuple[Path, ...] | None = None
    "Folders that picture folders must lie in; None where any folder may be used."
    allowed_origins: tuple[str, ...] = ()
    'Other origins whose pages may use the API, such as "https://example.com"; "*" for all.'
    allowed_origins_pattern: str = ""
    "The same as a regular expression."
    why_no_training: str = ""
    "Empty where training works, else one sentence."
    extra_networks: bool = True
    "Whether `<lora:…>` and its like act in the images that the host makes."
    runs_pickles: bool = False
    "Whether the host would execute what a hostile `.pt` or `.bin` in the embeddings folder holds when it lists that folder."


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for the host's own progress bar."""

    step: int
    steps: int
    text: str = ""


@dataclass(frozen=True)
class LoadedEmbeddings:
    """The embeddings that the host has read for the loaded checkpoint."""

    names: frozenset[str]
    left_out: dict[str, str]
    "Name to reason."


@dataclass(frozen=True)
class EmbeddingFile:
    """What is known of a file in the embeddings folder without its vectors."""

    path: Path
    widths: dict[str, int]
    vectors: int
    problem: str = ""
    "Why it cannot be read, a sentence; empty where it can."


@dataclass(frozen=True)
class Txt2ImgRequest:
    """One picture to make."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    guidance: float = 7.0
    seed: int = 1
    width: int = 512
    height: int = 512
    sampler: str = "Euler"
    embeddings: tuple[Embedding, ...] = ()
    "Vectors used under their names in place of what the embeddings folder holds."


class Host(Protocol):
    """The seam between this package and the program around it. Every method may be called from any thread."""

    def info(self) -> HostInfo: ...

    def model(self) -> AbstractContextManager[DiffusionModel]:
        """The loaded checkpoint's model; on exit the host is as it was.

        Raises HostFailed when no checkpoint is loaded or its weights cannot be used.
        """
        ...

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """The vocabulary's vectors for a text's first `count` tokens, per encoder fp32 CPU [m, d]; SD2's encoder gets them all.

        Raises HostFailed when no checkpoint is loaded or its text encoder takes no embeddings.
        """
        ...

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """The whole token embedding per encoder, [V, d]: the host's own weights, where and as it keeps them; not to be changed.

        Raises HostFailed when no checkpoint is loaded or its text encoder takes no embeddings.
        """
        ...

    def exclusive(self, job: str) -> AbstractContextManager[None]:
        """Waits for the host's queue, then holds it and shows `job` in the host's progress until exit."""
        ...

    def give_way(self) -> None:
        """Lets the jobs run that wait for the host's queue, then takes the queue back; at once where none waits.

        Only inside `exclusive`, and between two uses of the model. Raises HostFailed when the model that was lent is no longer
        the loaded one.
        """
        ...

    def report(self, progress: Progress) -> None:
        """Moves the host's progress bar; only inside `exclusive`."""
        ...

    def interrupted(self) -> bool:
        """Whether the host's Interrupt button was pressed since `exclusive` began."""
        ...

    def reload_embeddings(self) -> None:
        """Makes the host read its embeddings folder again, whatever it believes to be unchanged."""
        ...

    def loaded_embeddings(self) -> LoadedEmbeddings: ...

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """One picture by the host's own generator. The caller holds `exclusive`."""
        ...
