"""What Train Embedding needs from the program it runs in: a protocol of a few methods, and facts as data."""

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
    "Side in pixels of the square images that the checkpoint was trained on."
    allowed_folders: tuple[Path, ...] | None = None
    "Folders that datasets must lie in; None where any folder may be used."
    allowed_origins: tuple[str, ...] = ()
    'Other origins whose pages may use the API, such as "https://example.com"; "*" for all.'
    allowed_origins_pattern: str = ""
    "The same as a regular expression."
    why_no_training: str = ""
    "Empty where training works, else one sentence."
    extra_networks: bool = True
    "Whether `<lora:…>` and its like act in the images that the host makes."
    runs_pickles: bool = False
    "Whether the host runs the code in a malicious `.pt` or `.bin` when it lists the embeddings folder."


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
    """What is known of a file in the embeddings folder, without its vectors."""

    path: Path
    widths: dict[str, int]
    vectors: int
    problem: str = ""
    "Why it cannot be read, a sentence; empty where it can."


@dataclass(frozen=True)
class Txt2ImgRequest:
    """One image to generate."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    guidance: float = 7.0
    seed: int = 1
    width: int = 512
    height: int = 512
    sampler: str = "Euler"
    embeddings: tuple[Embedding, ...] = ()
    "Used in place of the embeddings of the same names in the embeddings folder."


class Host(Protocol):
    """The seam between this package and the program around it. Every method may be called from any thread."""

    def info(self) -> HostInfo:
        """Return facts about the host and its loaded checkpoint."""
        ...

    def model(self) -> AbstractContextManager[DiffusionModel]:
        """Lend the loaded checkpoint's model; on exit the host is as it was.

        Raises:
            HostFailed: No checkpoint is loaded, or its weights cannot be used.
        """
        ...

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text.

        Args:
            text: Any text.
            count: How many of its tokens to use at most; SD2's encoder always gets all.

        Returns:
            Per text encoder [m, d], fp32 on the CPU.

        Raises:
            HostFailed: No checkpoint is loaded, or its text encoder takes no embeddings.
        """
        ...

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the token embedding per text encoder, [V, d]: the host's own weights, which must not be changed.

        Raises:
            HostFailed: No checkpoint is loaded, or its text encoder takes no embeddings.
        """
        ...

    def exclusive(self, job: str) -> AbstractContextManager[None]:
        """Wait for the host's queue, then hold it and show `job` in the host's progress until exit."""
        ...

    def yield_queue(self) -> None:
        """Let the jobs run that wait for the host's queue, then take it back; return at once where none waits.

        Only inside `exclusive`, and between two uses of the model.

        Raises:
            HostFailed: Another checkpoint was loaded meanwhile.
        """
        ...

    def report(self, progress: Progress) -> None:
        """Update the host's progress bar; only inside `exclusive`."""
        ...

    def interrupted(self) -> bool:
        """Return whether the host's Interrupt button was pressed since `exclusive` began."""
        ...

    def reload_embeddings(self) -> None:
        """Make the host read its whole embeddings folder again."""
        ...

    def loaded_embeddings(self) -> LoadedEmbeddings:
        """Return which embeddings the host has loaded, and why it skipped the others."""
        ...

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image with the host's own generator. The caller holds `exclusive`."""
        ...
