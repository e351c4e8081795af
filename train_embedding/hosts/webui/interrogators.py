"""The interrogators of the WebUI and its forks, which describe images. Can be imported only in their processes.

It uses these names of WebUI 1.10.1, Forge dfdcbab6 and reForge 3b56b268; Forge Classic has no interrogators:

    shared          interrogator: blip_model, load_blip_model, generate_caption, dtype; in the WebUI also running_on_cpu and
                    send_blip_to_ram; in the forks blip_patcher, load_device, offload_device
    interrogate     lowvram (WebUI); ModelPatcher and memory_management (Forge) or model_management (reForge)
    deepbooru       model: start, stop, tag_multi(image, force_disable_ranks)
    devices         device_interrogate, torch_gc
    paths_internal  models_path

`interrogator.load` also loads CLIP, a gigabyte that captions do not need, so BLIP is loaded and moved here as that method
does it.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import devices, paths_internal, shared

from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Interrogator
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    from PIL import Image

Describe = Callable[["Image.Image"], str]
BLIP, DEEPBOORU = "blip", "deepbooru"
_TOKENIZER = "bert-base-uncased"
"BLIP's tokenizer, which the WebUI reads from the cache of the Hugging Face Hub."


def interrogators() -> tuple[Interrogator, ...]:
    """Return those that the program has. Nothing is downloaded: without its model, an interrogator has a problem."""
    by_module = {"modules.interrogate": _blip_facts, "modules.deepbooru": _deepbooru_facts}
    return tuple(facts() for module, facts in by_module.items() if importlib.util.find_spec(module) is not None)


@contextmanager
def interrogate(name: str) -> Iterator[Describe]:
    """Load an interrogator; on exit, its model leaves the device as the program's settings say.

    Args:
        name: Of an interrogator without a problem.

    Raises:
        HostFailed: The interrogator does not exist, or its model cannot be loaded.
    """
    found = {one.name: one for one in interrogators()}.get(name)
    if found is None:
        raise HostFailed(msg('There is no interrogator "{name}".', name=name))
    if found.problem:
        raise HostFailed(found.problem)
    with _deepbooru() if name == DEEPBOORU else _blip() as describe:
        yield describe


def _blip_facts() -> Interrogator:
    return Interrogator(BLIP, msg("BLIP (sentences)"), _problem("BLIP", ".pth", "📎 (Interrogate CLIP)", _lacks_tokenizer))


def _deepbooru_facts() -> Interrogator:
    problem = _problem("torch_deepdanbooru", ".pt", "📦 (Interrogate DeepBooru)", lambda: False)
    return Interrogator(DEEPBOORU, msg("DeepDanbooru (tags)"), problem)


def _problem(folder: str, suffix: str, button: str, lacks_more: Callable[[], bool]) -> Message:
    where = Path(paths_internal.models_path) / folder
    if any(where.rglob(f"*{suffix}")) and not lacks_more():
        return NOTHING
    return msg("Its model has not been downloaded. Click {button} on img2img once to download it.", button=button)


def _lacks_tokenizer() -> bool:
    try:
        _read_tokenizer()
    except (OSError, ValueError):
        return True
    return False


@functools.cache
def _read_tokenizer() -> bool:
    """Read BLIP's tokenizer from the cache, without downloading it. Raises OSError, ValueError."""
    from transformers import BertTokenizer

    BertTokenizer.from_pretrained(_TOKENIZER, local_files_only=True)
    return True


@contextmanager
def _deepbooru() -> Iterator[Describe]:
    from modules import deepbooru

    model = deepbooru.model
    with _loading("DeepDanbooru"):
        model.start()
    try:
        yield lambda image: model.tag_multi(image, force_disable_ranks=True)
    finally:
        model.stop()


@contextmanager
def _blip() -> Iterator[Describe]:
    from modules import interrogate as module

    models = shared.interrogator
    dtype = models.dtype
    with _loading("BLIP"):
        if hasattr(models, "load_device"):
            _place_in_fork(models, module)
        else:
            _place_in_webui(models, module)
    try:
        yield models.generate_caption
    finally:
        models.dtype = dtype
        models.send_blip_to_ram()
        devices.torch_gc()


def _place_in_webui(models: Any, module: Any) -> None:
    module.lowvram.send_everything_to_cpu()
    devices.torch_gc()
    if models.blip_model is None:
        models.blip_model = models.load_blip_model()
        if not shared.cmd_opts.no_half and not models.running_on_cpu:
            models.blip_model = models.blip_model.half()
    models.blip_model = models.blip_model.to(devices.device_interrogate)
    models.dtype = next(models.blip_model.parameters()).dtype


def _place_in_fork(models: Any, module: Any) -> None:
    memory = getattr(module, "memory_management", None) or module.model_management
    if models.blip_model is None:
        models.blip_model = models.load_blip_model()
    if models.blip_patcher is None:
        models.blip_model = models.blip_model.to(device=models.offload_device, dtype=models.dtype)
        models.blip_patcher = module.ModelPatcher(
            models.blip_model, load_device=models.load_device, offload_device=models.offload_device
        )
    memory.load_models_gpu([models.blip_patcher])


@contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise HostFailed(msg("{name} cannot be loaded: {reason}", name=name, reason=error)) from error
