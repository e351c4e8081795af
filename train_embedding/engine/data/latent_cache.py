"""Disk cache of latents between runs, with one file per image. It can be deleted at any time."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.embeddings.storage import remove_file, write_atomically
from train_embedding.engine.data.image import mask_path
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.errors import StorageFailed, UnreadableFile
from train_embedding.messages import NOTHING, SPACE, joined, msg

if TYPE_CHECKING:
    from train_embedding.engine.model.diffusion_model import DiffusionModel

LIMIT = 4 * 2**30
"Largest size in bytes of the folder after a run; the least recently used files are deleted first."
_LAYOUT = "train-embedding latents 1"
"Version of the files. It changes when latents are computed or stored differently, so that older files are not used."
_SUFFIX = ".safetensors"
_BLOCK = 2**20

logger = logging.getLogger(__name__)


class LatentCache:
    """A folder of cached tensors by key. Damaged files are ignored and written again.

    Args:
        folder: The folder, created on the first write.
        model: The model whose VAE computes the latents.
        limit: Largest size of the folder in bytes after `trim`.

    Attributes:
        problem: Why saving failed; after that, nothing more is saved. Empty until then.
    """

    def __init__(self, folder: Path, model: DiffusionModel, limit: int = LIMIT) -> None:
        self._folder = folder
        self._limit = limit
        self._vae = vae_identity(model)
        self.problem = NOTHING

    def key(self, image: TrainingImage) -> str:
        """Hash everything that an image's latents depend on: file, crop, mask, size, resize mode and VAE.

        Raises:
            UnreadableFile: A file cannot be read.
        """
        digest = hashlib.blake2b(digest_size=20)
        box = () if image.crop is None else image.crop.box(image.size)
        facts = (_LAYOUT, self._vae, *image.target, image.resize_mode, image.mask, *box)
        digest.update(repr(facts).encode())
        for block in _blocks(image.file):
            digest.update(block)
        if image.mask == "file":
            mask = hashlib.blake2b()
            for block in _blocks(mask_path(image.file)):
                mask.update(block)
            digest.update(mask.digest())
        return digest.hexdigest()

    def load(self, key: str) -> dict[str, torch.Tensor]:
        """Load the tensors of a key to the CPU. The result is empty if there are none or the file is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        file = self._file(key)
        try:
            tensors = load(file.read_bytes())
            os.utime(file)  # marks the file as recently used
        except FileNotFoundError:
            return {}
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            logger.warning("The cached latents in %s are ignored: %s", file, error)
            return {}
        return tensors if all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()) else {}

    def save(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Save the tensors of a key. If that fails, `problem` is set and nothing more is saved."""
        from safetensors.torch import save

        if self.problem:
            return
        try:
            write_atomically(self._file(key), save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        except StorageFailed as error:
            self.problem = joined((msg("Latents are not cached to disk."), error.message), SPACE)

    def trim(self) -> None:
        """Delete the least recently used files until the folder is within the limit."""
        try:
            files = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in self._folder.glob(f"*/*{_SUFFIX}")]
            total = sum(size for _, size, _ in files)
            for _, size, file in sorted(files):
                if total <= self._limit:
                    break
                remove_file(file, missing_ok=True)
                total -= size
        except OSError as error:  # another process may be trimming the folder at the same time
            logger.warning("The cached latents in %s could not be trimmed: %s", self._folder, error)

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"


def vae_identity(model: DiffusionModel) -> str:
    """Hash everything that affects the encoding: weights and dtype of the encoder, latent scale, type of device."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(repr((model.latent_scale, next(model.vae.parameters()).device.type)).encode())
    for name, tensor in sorted(model.vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _blocks(file: Path) -> Iterator[bytes]:
    try:
        with open_regular_file(file) as opened:
            while block := opened.read(_BLOCK):
                yield block
    except FileNotFoundError as error:
        raise UnreadableFile(msg("It is no longer there.")) from error
    except OSError as error:
        raise UnreadableFile(msg("It cannot be read: {reason}.", reason=error.strerror or error)) from error
