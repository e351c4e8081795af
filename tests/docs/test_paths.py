"""The README and the docs name tests, benchmarks and modules that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PATH = re.compile(r"\b(?:tests|benchmarks|train_embedding|scripts)/[\w./-]*\w")
MODULE = re.compile(r"python -m ((?:train_embedding|benchmarks|docs)(?:\.\w+)*)")


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_paths_and_modules_exist() -> None:
    missing: list[str] = []
    found = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        paths, modules = PATH.findall(text), MODULE.findall(text)
        found += len(paths) + len(modules)
        missing += [f"{page.name}: {path}" for path in paths if not (ROOT / path).exists()]
        missing += [f"{page.name}: {module}" for module in modules if not _exists(module)]
    assert found > 50
    assert missing == []
