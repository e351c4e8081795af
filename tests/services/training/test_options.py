"""Every option reaches the run: it is read where runs are made, and a run with another value of it turns out differently."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import train_embedding
from tests.training import Trainee, new_trainee
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.services.training import trainer

PACKAGE = Path(train_embedding.__file__).parent
FIELDS = [field.name for field in dataclasses.fields(TrainingSpec)]
GIVEN_ELSEWHERE = {
    "preset": "it only says where the other values came from; `from_json` takes them, see tests/engine/config/test_spec.py",
    "embedding": "each run in this file names one",
    "choose_start_words": "the embedding of these runs was trained before; see tests/services/training/test_start_words.py",
    "keep": "it needs losses of known size; see tests/services/training/test_trainer.py",
    "cuda_graphs": "there are none on a CPU; see tests/services/training/test_cuda_graphs.py",
    "encoders": "this checkpoint has one text encoder; see tests/engine/training/test_state.py",
}
BASE: dict[str, Any] = {
    "steps": 5, "batch_size": 2, "width": 64, "height": 64, "eval_every": 1, "lr_cooldown_steps": 1, "ema_decay": 0.5,
    "masks": "auto", "preview_every": 5, "preview_steps": 2, "save_every": 2, "early_stopping": False, "keep": "last",
    "cache_latents_to_disk": False, "template": ["a [name], [filewords]"], "learning_rate": "0.05", "optimizer": "adamw",
    "lr_scheduler": "constant",
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "teacher_prompt": {"dataset": "", "teacher_prompt": "a red star on a blue ground"},
    "candidates": {"candidates": "green square, moon, tree, sea, cat, blue, a big house, sky, sun, dog"},
    "lr_scheduler": {"lr_scheduler": "cosine"},
    "steps": {"steps": 4},
    "batch_size": {"batch_size": 1},
    "learning_rate": {"learning_rate": "0.01"},
    "width": {"width": 48},
    "height": {"height": 48},
    "buckets": {"buckets": False},
    "resize_mode": {"resize_mode": "resize"},
    "random_flip": {"random_flip": True},
    "repeats": {"repeats": True},
    "masks": {"masks": "none"},
    "unmasked_weight": {"unmasked_weight": 0.9},
    "keep_tokens": {"shuffle_caption": True, "caption_tag_dropout_rate": 0.6, "keep_tokens": 3},
    "cache_latents_to_disk": {"cache_latents_to_disk": True},
    "template": {"template": ["[name]"]},
    "shuffle_caption": {"shuffle_caption": True},
    "caption_tag_dropout_rate": {"caption_tag_dropout_rate": 0.6},
    "timesteps": {"timesteps": "uniform"},
    "timestep_focus": {"timesteps": "shifted", "timestep_focus": 0.0},
    "latent_sampling": {"latent_sampling": "random"},
    "optimizer": {"optimizer": "direction"},
    "gradient_accumulation_steps": {"gradient_accumulation_steps": 2},
    "lr_warmup_steps": {"lr_warmup_steps": 3},
    "max_grad_norm": {"max_grad_norm": 1e-9, "optimizer": "direction"},
    "loss": {"loss": "huber"},
    "min_snr_gamma": {"min_snr_gamma": 1.0},
    "core_loss_weight": {"core_loss_weight": 1.0},
    "ema_decay": {"ema_decay": 0.0},
    "eval_every": {"eval_every": 2},
    "early_stopping": {"early_stopping": True, "learning_rate": "1e-9", "steps": 40, "save_every": 0},
    "min_steps": {"early_stopping": True, "learning_rate": "1e-9", "steps": 40, "save_every": 0, "min_steps": 38},
    "lr_cooldown_steps": {"lr_cooldown_steps": 0},
    "seed": {"seed": 7},
    "save_every": {"save_every": 3},
    "preview_every": {"preview_every": 2},
    "preview_prompt": {"preview_prompt": "a [name]\na red [name]"},
    "preview_negative_prompt": {"preview_negative_prompt": "blue"},
    "preview_seed": {"preview_seed": 9},
    "preview_steps": {"preview_steps": 3},
    "preview_guidance": {"preview_guidance": 1.5},
}
"What a run is given to show that a field has an effect, on top of BASE; other fields in it are there for that one to matter."


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several shapes, with tags, one with transparency, and a subfolder of repeats."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "2_more").mkdir()
    generator = np.random.default_rng(3)
    for name, size in (("a", (96, 64)), ("b", (64, 96)), ("c", (64, 64)), ("2_more/d", (64, 64))):
        pixels = generator.integers(0, 255, (*reversed(size), 4), dtype=np.uint8)
        pixels[..., 3] = 255 if name != "c" else np.tile(np.arange(size[0], dtype=np.uint8) * 3, (size[1], 1))
        Image.fromarray(pixels).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text("red, star, night, sky, tall, old", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What can be seen of a run with these values: what it wrote, and what it had drawn."""
    known: dict[str, dict[str, Any]] = {}

    def of(values: dict[str, Any]) -> dict[str, Any]:
        key = json.dumps(values, sort_keys=True)
        if key not in known:
            known[key] = _seen_of(new_trainee(tmp_path_factory.mktemp("host"), dataset), values)
        return known[key]

    return of


def _seen_of(trainee: Trainee, values: dict[str, Any]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "EVALUATION_ITEMS", 2)
        ended = trainee.run(**values)
    assert (ended.status, ended.error) == ("finished", "")
    vectors = [table.numpy().tobytes() for table in trainee.embedding().vectors.values()]
    return {
        "vectors": hashlib.sha256(b"".join(vectors)).hexdigest(),
        "step": ended.step,
        "evaluations": ended.evaluations,
        "losses": ended.losses,
        "files": [path.name for path in (*ended.files, *ended.previews)],
        "drawn": [dataclasses.replace(request, embeddings=()) for request in trainee.host.requests],
        "latents kept": (trainee.host.info().runs_folder.parent / "latents").exists(),
    }


def test_every_field_is_tried() -> None:
    assert {*CHANGES, *GIVEN_ELSEWHERE, "dataset"} == set(FIELDS)


def test_every_field_is_read_where_runs_are_made() -> None:
    """By the engine or the services, as an attribute of something that is called a spec."""
    declarations = {file for file in (PACKAGE / "engine" / "config").glob("*.py") if file.name != "spec.py"}
    files = [file for part in ("engine", "services") for file in (PACKAGE / part).rglob("*.py") if file not in declarations]
    read = {name for file in files for name in _read_from_specs(file)}
    assert set(FIELDS) <= read


def _read_from_specs(file: Path) -> set[str]:
    names = ("spec", "_spec", *(("self",) if file.name == "spec.py" else ()))
    tree = ast.parse(file.read_text(encoding="utf-8"))
    checks = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"]
    checking = {node for function in checks for node in ast.walk(function)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node not in checking]
    return {node.attr for node in nodes if getattr(node.value, "id", getattr(node.value, "attr", "")) in names}


def test_what_changes_nothing_is_seen_to_change_nothing(outcome: Callable[..., dict[str, Any]]) -> None:
    """Otherwise the differences below would prove nothing: without the automatic stop there is nothing to hold back."""
    assert outcome(BASE | {"min_steps": 3}) == outcome(BASE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_an_option_changes_the_run(name: str, outcome: Callable[..., dict[str, Any]]) -> None:
    values = BASE | CHANGES[name]
    without = {**values, name: BASE.get(name, getattr(TrainingSpec("sword", "x"), name))}
    if name == "teacher_prompt":
        without = BASE
    assert outcome(values) != outcome(without)
