"""The interface to the program that Train Embedding runs in: the `Host` protocol and its data classes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from train_embedding.embeddings.embedding import Embedding
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from train_embedding.engine.model.diffusion_model import DiffusionModel


OTHER_FAMILY = msg(
    "Embeddings can be created and trained with SD1, SD2 and SDXL checkpoints; the loaded one belongs to another family."
)
"What is said of a checkpoint such as one of Flux or SD3."


@dataclass(frozen=True)
class HostInfo:
    """Facts about the host at this moment."""

    name: str
    'Name and version of the host, such as "AUTOMATIC1111 WebUI v1.10.1".'
    embeddings_folder: Path
    runs_folder: Path
    templates_folder: Path | None = None
    "Caption templates (`textual_inversion_templates` in the WebUI)."
    checkpoint_name: str = ""
    "Name of the loaded checkpoint; empty if none is loaded."
    checkpoint_hash: str = ""
    "First 10 digits of its SHA-256; empty if unknown."
    widths: dict[str, int] = field(default_factory=dict)
    'Width of a vector per text encoder of the checkpoint, such as {"clip_l": 768}; empty if none is loaded.'
    device: str = "cpu"
    dtype: str = "float32"
    resolution: int = 512
    "Native image size of the checkpoint: the side of a square, in pixels."
    allowed_folders: tuple[Path, ...] | None = None
    "Folders that may be read, including their subfolders; None if any folder may be read."
    allowed_origins: tuple[str, ...] = ()
    'Other origins whose pages may use the API, such as "https://example.com"; "*" for all.'
    allowed_origins_pattern: str = ""
    "A regular expression for further origins."
    why_no_training: Message = NOTHING
    "Why the loaded checkpoint cannot be trained on, as a sentence; empty if it can."
    extra_networks: bool = True
    "Whether the host applies extra networks, such as `<lora:…>`, to the images that it generates."
    language: str = ""
    'Name of the language of the host\'s interface, such as "zh_CN" or "zh-Hans (Stable)"; empty for English.'
    runs_pickles: bool = False
    "Whether the host executes the code in a malicious `.pt` or `.bin` file when it reads the embeddings folder."
    file_suffixes: tuple[str, ...] = (".pt", ".safetensors", ".bin", ".png", ".webp", ".jxl", ".avif")
    "Suffixes of the files that the host loads, whatever is in them; new files have the first one."


@dataclass(frozen=True)
class Progress:
    """Progress of a run, for the host's progress bar."""

    step: int
    "Steps that are finished."
    steps: int
    "Steps in total; 0 if unknown."
    text: str = ""
    "Shown with the progress bar."


@dataclass(frozen=True)
class LoadedEmbeddings:
    """What the host found when it last read the embeddings folder."""

    names: frozenset[str]
    "Embeddings that work with the loaded checkpoint."
    left_out: dict[str, Message]
    "Why each of the others was skipped, as a sentence, by name."


@dataclass(frozen=True)
class EmbeddingFile:
    """A file in the embeddings folder, without its vectors."""

    path: Path
    widths: dict[str, int]
    "Width of a vector per text encoder."
    vectors: int
    "Number of vectors."
    problem: Message = NOTHING
    "Why the file cannot be read, as a sentence; empty if it can."


@dataclass(frozen=True)
class Txt2ImgRequest:
    """An image to generate."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    guidance: float = 7.0
    "CFG scale."
    seed: int = 1
    width: int = 512
    "In pixels."
    height: int = 512
    sampler: str = "Euler"
    embeddings: tuple[Embedding, ...] = ()
    "Take precedence over embeddings of the same name in the embeddings folder."


@dataclass(frozen=True)
class Interrogator:
    """A part of the host that describes images in words."""

    name: str
    label: Message
    problem: Message = NOTHING
    "Why it cannot be used, as a sentence; empty if it can."


class Host(Protocol):
    """The program that Train Embedding runs in. Every method may be called from any thread."""

    def info(self) -> HostInfo:
        """Return facts about the host and its loaded checkpoint."""
        ...

    def model(self) -> AbstractContextManager[DiffusionModel]:
        """Lend the loaded checkpoint's model; on exit, the host's state is restored.

        Raises:
            HostFailed: No checkpoint is loaded, or its weights cannot be used.
        """
        ...

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        """Look up the token embeddings of a text.

        Args:
            text: Any text.
            count: Maximum number of tokens to use; ignored for SD2, which always uses all.

        Returns:
            One row per token, [m, d], by text encoder; fp32 on the CPU.

        Raises:
            HostFailed: No checkpoint is loaded, or its text encoder does not support embeddings.
        """
        ...

    def vocabulary(self) -> dict[str, torch.Tensor]:
        """Return the token embedding tables, [vocabulary size, d], by text encoder.

        These are the host's own weights, which must not be changed.

        Raises:
            HostFailed: No checkpoint is loaded, or its text encoder does not support embeddings.
        """
        ...

    def exclusive(self, job: str) -> AbstractContextManager[None]:
        """Wait for the host's queue, then hold it and show `job` as the host's current job until exit."""
        ...

    def yield_queue(self, release: Callable[[], object] = lambda: None) -> None:
        """Release the host's queue to the jobs that are waiting, then take it again; return at once if none is waiting.

        May be called only inside `exclusive`, and not while the model is in use.

        Args:
            release: Called before the first of these jobs, to free memory for them.

        Raises:
            HostFailed: Another checkpoint was loaded meanwhile.
        """
        ...

    def report(self, progress: Progress) -> None:
        """Update the host's progress bar. May be called only inside `exclusive`."""
        ...

    def interrupted(self) -> bool:
        """Return whether the host's Interrupt button has been pressed since `exclusive` was entered."""
        ...

    def reload_embeddings(self) -> None:
        """Make the host read its embeddings folder again."""
        ...

    def loaded_embeddings(self) -> LoadedEmbeddings:
        """Return which embeddings the host has loaded and why it skipped others."""
        ...

    def txt2img(self, request: Txt2ImgRequest) -> Image.Image:
        """Generate an image with the host's own generator. May be called only inside `exclusive`.

        Raises:
            HostFailed: The sampler does not exist, or the host returned no image.
        """
        ...

    def interrogators(self) -> tuple[Interrogator, ...]:
        """Return the parts of the host that describe images, usable or not."""
        ...

    def interrogate(self, name: str) -> AbstractContextManager[Callable[[Image.Image], str]]:
        """Load an interrogator, and return what describes an RGB image with it until exit. May be called only inside `exclusive`.

        Nothing is downloaded.

        Args:
            name: Its name.

        Raises:
            HostFailed: It does not exist or cannot be used.
        """
        ...
