"""Which package may import which, what stays outside, and what a bare import costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "train_embedding"
SOURCES = sorted(path.relative_to(ROOT).as_posix() for folder in (PACKAGE, "scripts") for path in (ROOT / folder).rglob("*.py"))

# Data that every front end may name: what it hands to the services and what it gets back.
FACTS = ("errors", "messages", "hosts.base", "engine.config")

# Of hosts, what needs no host: its protocol, and which programs there are.
_OF_HOSTS = ("hosts.base", "hosts.recognition")

# Per package, the packages and modules that it may import. "hosts" covers all of hosts, "hosts.base" that alone.
INSIDE: dict[str, tuple[str, ...]] = {
    "__init__": ("lazy", "workspace", "embeddings", "engine.config", "hosts.base", "errors"),
    "__main__": ("cli",),
    "errors": ("messages",),
    "messages": (),
    "translations": ("messages",),
    "lazy": (),
    "allowed_folders": ("errors", "messages"),
    "main_memory": (),
    "workspace": ("services", "hosts.standalone"),
    "images": ("messages", "images"),
    "embeddings": ("messages", "embeddings", "images", "errors"),
    "engine": ("messages", "engine", "lazy", "allowed_folders", "main_memory", "embeddings", "images", "errors"),
    "services": (
        "messages",
        "services",
        "lazy",
        "allowed_folders",
        "main_memory",
        "engine",
        "embeddings",
        "images",
        "errors",
        *_OF_HOSTS,
    ),
    "hosts": ("messages", "hosts", "engine", "embeddings", "errors"),
    "testing": ("messages", "hosts.base", "hosts.fifo_lock", "engine", "embeddings", "errors"),
    "ui": ("translations", "ui", "services", "images", *FACTS),
    "api": ("translations", "api", "services", "images", *FACTS),
    # The commands `app` and `demo` open those packages, which never lead back. `bench` measures the engine.
    "cli": ("translations", "cli", "services", "app", "demo", "engine.profiling", "hosts.detect", "hosts.standalone", *FACTS),
    "app": ("translations", "app", "ui", "api", "services", "hosts.detect", "hosts.standalone", *FACTS),
    "demo": ("messages", "demo", "services", "engine", "embeddings", "errors", "hosts.base", "hosts.standalone"),
    # The WebUI executes the script by path, so what it does lies in the package.
    "scripts": ("webui",),
    "webui": ("translations", "ui", "api", "services", "hosts.detect", "hosts.webui", *FACTS),
}
ENTRY_POINTS = ("webui", "app", "cli")
FRONT_AREAS = ("webui", "app", "cli", "ui", "api")
"Of packages in engine and services they import only what the package itself names."

# The same inside engine and services, between their packages. `services` itself is the facade that front ends open.
_PROMPTS = ("engine.prompts", "engine.devices")
_MODEL_PACKAGES = ("engine.model", "engine.layers", *_PROMPTS)
_TRAINED = (
    "engine.config",
    "engine.data",
    "engine.process_group",
    "engine.runtime",
    "engine.sampling",
    "engine.seeds",
    *_MODEL_PACKAGES,
)
_LIBRARY = (
    "services.importing",
    "services.store",
    "services.sidecars",
    "services.formats",
    "services.infotext",
    "services.loaded_checkpoint",
    "services.run_records",
    "services.waiting",
)
WITHIN: dict[str, tuple[str, ...]] = {
    "engine.devices": (),
    "engine.process_group": (),
    "engine.seeds": (),
    "engine.layers": (),
    "engine.prompts": ("engine.devices",),
    "engine.captioning": ("engine.prompts",),
    "engine.config": ("engine.prompts",),
    "engine.model": ("engine.layers", *_PROMPTS),
    "engine.loading": _MODEL_PACKAGES,
    "engine.runtime": _MODEL_PACKAGES,
    "engine.sampling": _MODEL_PACKAGES,
    "engine.data": ("engine.config", "engine.process_group", "engine.seeds", *_MODEL_PACKAGES),
    "engine.training": _TRAINED,
    "engine.segmentation": (),
    "engine.self_test": ("engine.devices", "engine.runtime"),
    "engine.profiling": ("engine.training", "engine.loading", *_TRAINED),
    "services.settings": (),
    "services.formats": (),
    "services.image_files": (),
    "services.kinds": ("services.datasets",),
    "services.infotext": (),
    "services.json_values": (),
    "services.loaded_checkpoint": (),
    "services.presets": ("services.json_values",),
    "services.run_records": (),
    "services.typed_paths": (),
    "services.waiting": (),
    "services.datasets": ("services.store", "services.typed_paths"),
    "services.sidecars": ("services.infotext", "services.loaded_checkpoint", "services.run_records", "services.waiting"),
    "services.store": ("services.sidecars", "services.formats", "services.run_records"),
    "services.diagnosis": ("services.store", "services.run_records"),
    "services.importing": ("services.sidecars", "services.formats"),
    "services.library": _LIBRARY,
    "services.inspection": ("services.library", *_LIBRARY),
    "services.combining": ("services.inspection", "services.library", *_LIBRARY),
    "services.comparing": ("services.training", "services.library", *_LIBRARY),
    "services.training": ("services.library", "services.datasets", *_LIBRARY),
    "services.studies": (
        "services.training",
        "services.library",
        "services.datasets",
        "services.json_values",
        "services.presets",
        "services.typed_paths",
        *_LIBRARY,
    ),
}

# Per area, the packages besides the standard library that it may import.
_MODEL = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "PIL", "numpy", "yaml", "tqdm")
OUTSIDE: dict[str, tuple[str, ...]] = {
    "messages": ("typing_extensions",),  # for type checkers alone
    "translations": ("typing_extensions",),
    "images": ("PIL",),
    "embeddings": ("torch", "safetensors", "PIL"),
    "engine": (*_MODEL, "pillow_heif", "pillow_avif", "pillow_jxl", "prodigyopt", "onnxruntime"),
    # Studies alone read YAML, and import Ray and fsspec.
    "services": ("torch", "PIL", "numpy", "filelock", "cv2", "yaml", "ray", "fsspec"),
    "testing": ("torch", "PIL"),
    # "modules_forge" to "bitsandbytes" are those of Forge and reForge, the last two those of SD.Next.
    "hosts": (*_MODEL, "modules", "modules_forge", "backend", "ldm_patched", "bitsandbytes", "installer", "tokenizers"),
    "ui": ("gradio", "pandas", "PIL", "jinja2", "markupsafe"),
    "api": ("fastapi", "starlette", "pydantic"),
    "cli": ("tqdm",),
    "app": ("gradio", "fastapi", "starlette", "uvicorn", "h11", "PIL"),
    "demo": _MODEL,
    "scripts": ("modules.script_callbacks",),
    "webui": ("fastapi",),
}


def area_of(path: str) -> str:
    """Return a file's area: a folder of the package, a module at its top, or "scripts"."""
    parts = Path(path).with_suffix("").parts
    return parts[1] if parts[0] == PACKAGE else parts[0]


def package_of(path: str) -> str:
    """Return the package of `WITHIN` that a file belongs to, such as "engine.training"; elsewhere its area."""
    parts = Path(path).with_suffix("").parts[1:]
    return ".".join(parts[:2]) if parts[0] in ("engine", "services") and parts[-1:] != (parts[0], "__init__") else area_of(path)


def imports_of(path: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports anywhere in it, `from a import b` as "a.b"."""
    package = Path(path).parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def violations(path: str, source: str) -> list[str]:
    """One line for each import of the file that the tables do not allow."""
    area = area_of(path)
    return [
        f"{path}:{line}: {area} must not import {name}"
        for line, name in imports_of(path, source)
        if not allowed(area, path, name)
    ]


def allowed(area: str, path: str, name: str) -> bool:
    top, _, rest = name.partition(".")
    if top != PACKAGE:
        return top in sys.stdlib_module_names or _covered(name, OUTSIDE.get(area, ()))
    if rest == "__version__":
        return True
    if _covered(rest, ("hosts.detect",)) and area not in ENTRY_POINTS:
        return path == f"{PACKAGE}/hosts/detect.py"
    if area in FRONT_AREAS and _inside_a_package(rest):
        return False
    if path.split("/")[1] in ("engine", "services") and rest.partition(".")[0] == area:
        package = package_of(path)
        return package not in WITHIN or _covered(rest, (package, *WITHIN[package]))
    return _covered(rest, INSIDE[area])


def _inside_a_package(name: str) -> bool:
    """Whether a name is taken from a module inside a package of engine or services."""
    parts = name.split(".")
    return len(parts) > 3 and f"{parts[0]}.{parts[1]}" in WITHIN


def _covered(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_imports_follow_the_arrows() -> None:
    assert [line for path in SOURCES for line in violations(path, _text(path))] == []


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


STORAGE = f"{PACKAGE}/embeddings/storage.py"
_CHANGES_NAMES = {"unlink", "rename", "rmdir", "rmtree", "removedirs", "renames"}


def unguarded(source: str) -> list[str]:
    """Calls that replace or remove files by other means than `embeddings.storage`, which tries again while a file is in use."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, getattr(node.func.value, "id", "")
        # str.replace takes two values, Path.replace one; Library.rename and StoreTransaction.rename take two as well.
        of_path = (name in _CHANGES_NAMES and len(node.args) < 2) or (
            name == "replace" and len(node.args) == 1 and not node.keywords
        )
        if of_path or (owner in ("os", "shutil") and name in (*_CHANGES_NAMES, "replace", "remove", "move")):
            found.append(f"{node.lineno}: {ast.unparse(node.func)}")
    return found


def test_files_are_replaced_and_removed_in_one_place() -> None:
    assert [f"{path}:{line}" for path in SOURCES if path != STORAGE for line in unguarded(_text(path))] == []


@pytest.mark.parametrize(
    "source",
    [
        "os.replace(a, b)",
        "path.unlink(missing_ok=True)",
        "path.replace(other)",
        "path.rename(other)",
        "shutil.rmtree(a)",
        "a.rmdir()",
    ],
)
def test_another_way_to_remove_a_file_is_caught(source: str) -> None:
    assert len(unguarded(source)) == 1


def test_every_area_has_its_rules() -> None:
    assert {area_of(path) for path in SOURCES} <= set(INSIDE)


def test_every_package_of_engine_and_services_has_its_rules() -> None:
    packages = {package_of(path) for path in SOURCES if area_of(path) in ("engine", "services")}
    assert packages - {"engine.__init__", "services.__init__"} == set(WITHIN)


@pytest.mark.parametrize("rules", [INSIDE, WITHIN])
def test_the_arrows_have_no_circle(rules: dict[str, tuple[str, ...]]) -> None:
    def reached(package: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
        for other in rules.get(package, ()):
            name = other if other in rules else other.partition(".")[0]
            if name != package and name not in seen and name in rules:
                seen = reached(name, seen | {name})
        return seen

    assert [package for package in rules if package in reached(package)] == []


WRONG: tuple[tuple[str, str], ...] = (
    # upwards
    ("train_embedding/embeddings/merge.py", "from train_embedding.engine.config.spec import TrainingSpec"),
    ("train_embedding/engine/training/loop.py", "from train_embedding.services import Services"),
    ("train_embedding/engine/training/loop.py", "import train_embedding.hosts.base"),
    ("train_embedding/engine/training/loop.py", "from train_embedding import ui"),
    ("train_embedding/services/training/runs.py", "def go():\n    from train_embedding.ui import tab"),
    ("train_embedding/services/training/runs.py", "import train_embedding.api.routes"),
    ("train_embedding/services/training/runs.py", "from train_embedding.cli import main"),
    ("train_embedding/services/training/runs.py", "from ...app import build"),
    ("train_embedding/hosts/a1111/host.py", "from train_embedding.services import Services"),
    ("train_embedding/app/page.py", "from train_embedding.cli import main"),
    # sideways, and past the services
    ("train_embedding/ui/tab.py", "from train_embedding.api import routes"),
    ("train_embedding/ui/tab.py", "from train_embedding.engine.training.loop import train"),
    ("train_embedding/api/routes.py", "from train_embedding.embeddings.formats import read_embedding"),
    ("train_embedding/cli/train.py", "from train_embedding.hosts.a1111.host import A1111Host"),
    # who looks for the host
    ("train_embedding/services/training/runs.py", "from train_embedding.hosts.detect import detect"),
    ("train_embedding/services/training/runs.py", "from train_embedding.hosts import detect"),
    ("train_embedding/services/training/runs.py", "from train_embedding.hosts import standalone"),
    ("train_embedding/ui/tab.py", "from train_embedding.hosts.detect import detect"),
    ("train_embedding/hosts/a1111/host.py", "from train_embedding.hosts.detect import detect"),
    ("train_embedding/demo/run.py", "from train_embedding.hosts.detect import detect"),
    # what stays outside
    ("train_embedding/embeddings/merge.py", "import diffusers"),
    ("train_embedding/embeddings/merge.py", "import transformers.utils"),
    ("train_embedding/engine/training/loop.py", "import gradio as gr"),
    ("train_embedding/engine/training/loop.py", "from modules import shared"),
    ("train_embedding/services/training/runs.py", "import importlib\nimportlib.import_module('modules.shared')"),
    ("train_embedding/services/training/runs.py", "__import__('gradio')"),
    ("train_embedding/api/routes.py", "import gradio"),
    ("train_embedding/cli/train.py", "import torch"),
    ("train_embedding/hosts/a1111/host.py", "import gradio"),
    ("train_embedding/errors.py", "import torch"),
    ("scripts/train_embedding_tab.py", "from modules import shared"),
    ("scripts/train_embedding_tab.py", "from train_embedding.hosts.a1111.host import A1111Host"),
    ("scripts/train_embedding_tab.py", "import torch"),
    ("train_embedding/webui.py", "from train_embedding.hosts.a1111.host import A1111Host"),
    ("train_embedding/webui.py", "import gradio"),
    # between the packages of engine and services
    ("train_embedding/engine/prompts/chunking.py", "from train_embedding.engine.model import diffusion_model"),
    ("train_embedding/engine/model/conditioning.py", "from train_embedding.engine.config.spec import TrainingSpec"),
    ("train_embedding/engine/data/latents.py", "from train_embedding.engine.training.loop import train"),
    ("train_embedding/engine/seeds.py", "from train_embedding.engine.devices import to_device"),
    ("train_embedding/services/store/store.py", "from train_embedding.services.library import Library"),
    ("train_embedding/services/library/library.py", "from train_embedding.services import training"),
    ("train_embedding/services/sidecars/files.py", "from train_embedding.services import Services"),
    # front ends and what is inside a package
    ("train_embedding/ui/tab.py", "from train_embedding.services.library.entries import Entry"),
    ("train_embedding/cli/train.py", "from train_embedding.engine.config.spec import TrainingSpec"),
)
RIGHT: tuple[tuple[str, str], ...] = (
    (
        "train_embedding/embeddings/formats/webui_pt.py",
        "from train_embedding.embeddings.embedding import Embedding\nimport torch",
    ),
    (
        "train_embedding/engine/training/loop.py",
        "from .events import Stepped\nfrom ...errors import TrainingFailed\nimport diffusers",
    ),
    (
        "train_embedding/services/training/runs.py",
        "from train_embedding.hosts.base import Host\nfrom train_embedding.engine.training import loop",
    ),
    ("train_embedding/services/training/runs.py", "from train_embedding.hosts import base"),
    ("train_embedding/hosts/detect.py", "from train_embedding.hosts.a1111.host import A1111Host\nfrom modules import shared"),
    ("train_embedding/ui/tab.py", "import gradio as gr\nfrom train_embedding.services import Services"),
    ("train_embedding/app/__init__.py", "from train_embedding.ui import tab\nimport gradio"),
    ("train_embedding/cli/app.py", "def run():\n    from train_embedding import app"),
    (
        "scripts/train_embedding_tab.py",
        "from modules import script_callbacks\nfrom train_embedding import webui",
    ),
    (
        "train_embedding/webui.py",
        "from train_embedding.hosts.detect import detect\nfrom train_embedding.ui.tab import build",
    ),
    ("train_embedding/services/__init__.py", "from train_embedding.services.library import Library"),
)


def test_a_wrong_import_is_caught() -> None:
    assert [case for case in WRONG if len(violations(*case)) != 1] == []


def test_a_right_import_is_not() -> None:
    assert [case for case in RIGHT if violations(*case)] == []


REPLACED = ("torch.load", "torch.save", "safetensors.torch.load_file", "safetensors.torch.save_file")
"Functions in whose place hosts put their own: the WebUI's and Forge's `torch.load` refuse or misread what theirs does not know."


def replaced_functions(source: str) -> list[str]:
    """Uses of REPLACED in a file, imported or called by their dotted name."""
    names = [name for _, name in imports_of("train_embedding/x.py", source)]
    names += [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return [name for name in names if name in REPLACED]


def test_no_function_is_used_that_hosts_replace() -> None:
    paths = [path for path in SOURCES if not path.startswith(f"{PACKAGE}/demo/maker/")]
    assert [f"{path}: {name}" for path in paths for name in replaced_functions(_text(path))] == []


@pytest.mark.parametrize(
    "source", ["import torch\ntorch.load(path)", "from torch import load", "from safetensors.torch import load_file, load"]
)
def test_a_replaced_function_is_caught(source: str) -> None:
    assert len(replaced_functions(source)) == 1


def test_where_such_a_function_is_defined_it_may_be_used() -> None:
    assert replaced_functions("import torch\ntorch.serialization.load(path)\nfrom safetensors.torch import load") == []


FRONT_ENDS = ("gradio", "fastapi", f"{PACKAGE}.ui", f"{PACKAGE}.api", f"{PACKAGE}.cli", f"{PACKAGE}.app")
MODEL_CODE = tuple(
    f"{PACKAGE}.engine.{name}"
    for name in (
        "model",
        "loading",
        "layers",
        "runtime",
        "data.image_folder",
        "data.latents",
        "training.loop",
        "training.optimizers",
        "training.resume",
        "sampling",
        "prompts.splicing",
    )
)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (PACKAGE, ("torch", "numpy", "PIL", *FRONT_ENDS)),
        (f"{PACKAGE}.embeddings.embedding", ("diffusers", "transformers", "accelerate", *FRONT_ENDS)),
        (f"{PACKAGE}.embeddings.formats", ("diffusers", "transformers", "accelerate", *FRONT_ENDS)),
        (f"{PACKAGE}.engine.config.spec", ("torch", "diffusers", "transformers", *FRONT_ENDS)),
        (f"{PACKAGE}.services", ("diffusers", "transformers", "accelerate", *MODEL_CODE, *FRONT_ENDS)),
        (f"{PACKAGE}.hosts.base", ("diffusers", "transformers", *MODEL_CODE, *FRONT_ENDS)),
        (f"{PACKAGE}.hosts.detect", ("diffusers", "transformers", "modules", *MODEL_CODE, *FRONT_ENDS)),
        (f"{PACKAGE}.webui", ("torch", "diffusers", "transformers", "gradio", "fastapi", f"{PACKAGE}.services", f"{PACKAGE}.ui")),
        (f"{PACKAGE}.api.routes", ("diffusers", "transformers", *MODEL_CODE, "gradio", f"{PACKAGE}.ui")),
        (f"{PACKAGE}.cli", ("torch", "diffusers", "transformers", "gradio", "fastapi", f"{PACKAGE}.app")),
    ],
)
def test_a_fresh_import_loads_nothing_heavy(module: str, unwanted: tuple[str, ...]) -> None:
    loaded = _modules_after(f"import {module}")
    assert module in loaded
    assert [name for name in loaded if _covered(name, unwanted)] == []


def test_a_heavy_import_is_noticed() -> None:
    assert _covered("torch", ("torch",))
    assert "torch" in _modules_after("import torch")


def _modules_after(statement: str) -> list[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_wheel_takes_files_that_exist() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("[tool.hatch.build.targets.wheel.force-include]") + 1
    end = lines.index("", start)
    sources = [line.split('"')[1] for line in lines[start:end]]
    scripts = sorted(f"javascript/{script.name}" for script in (ROOT / "javascript").glob("*.js"))
    assert [source for source in sources if source.startswith("javascript/")] == [
        name for name in scripts if "localization" not in name
    ]
    assert "style.css" in sources
    assert [source for source in sources if not (ROOT / source).is_file()] == []
