"""docs/architecture.md names files that exist, and every package of engine and services."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|js|css))`")
BASES = (ROOT, ROOT / "train_embedding", ROOT / "train_embedding" / "embeddings")
MADE_AT_RUN_TIME = {
    "embeddings/", "runs/", "tensorboard/", "snapshots/", "previews/", "latents/", "trash/", "library/", "templates/",
    "textual_inversion_templates/", ".train-embedding/runs/", "datasets/", "dataset-trash/", "dataset-changes/", "queue/",
    "presets/", "preset-trash/",
    "steps/", "comparison/", "comparisons/",
}  # fmt: skip


def test_files_and_folders_exist() -> None:
    named = {name for name in PATH.findall(PAGE) if name not in MADE_AT_RUN_TIME}
    everywhere = {path.name for path in (ROOT / "train_embedding").rglob("*.py")}
    missing = [name for name in named if name not in everywhere and not any((base / name).exists() for base in BASES)]
    assert len(named) > 20
    assert missing == []


def test_every_package_is_described() -> None:
    packages = [
        path.parent.name for room in ("engine", "services") for path in (ROOT / "train_embedding" / room).glob("*/__init__.py")
    ]
    described = PAGE[PAGE.index("## The packages") : PAGE.index("## What happens when you click Train")]
    assert [name for name in packages if f"`{name}`" not in described] == []
