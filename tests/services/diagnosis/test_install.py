"""Which program a folder holds, its version, folders and settings, without importing anything of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rights import WITHOUT_RIGHTS
from train_embedding.services.diagnosis.install import (
    find_extensions,
    find_nested_extensions,
    is_webui,
    read_commit,
    read_install,
    read_version,
)
from train_embedding.services.diagnosis.sections import find_webui

ROOT = Path(__file__).parents[3]
COMMIT = "82a973c04367123ae98bd9abdf80d9eda9b910e2"
A1111 = ("webui.py", "modules/shared.py", "modules/sd_hijack.py", "modules/textual_inversion/textual_inversion.py")
FORGE = (*A1111, "modules_forge/forge_version.py", "backend/memory_management.py")
REFORGE = (*A1111, "modules_forge/x.py", "ldm_patched/modules/model_management.py")


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMMANDLINE_ARGS", raising=False)
    monkeypatch.delenv("VENV_DIR", raising=False)


def webui(folder: Path, files: tuple[str, ...] = A1111, **contents: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, text in contents.items():
        (folder / name.replace("__", "/").replace("_dot_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_programs_are_told_apart(tmp_path: Path) -> None:
    a1111 = read_install(webui(tmp_path / "a", CHANGELOG_dot_md="\n## 1.10.1\n\n### Bug Fixes:\n"))
    assert (a1111.program.kind, a1111.version) == ("a1111", "1.10.1")
    forge = read_install(webui(tmp_path / "f", FORGE, CHANGELOG_dot_md="## 1.10.1\n"))
    assert forge.program.kind == "forge"
    (tmp_path / "f" / "modules_forge" / "forge_version.py").write_text("version = 'f2.0.1'\n")
    assert read_install(tmp_path / "f").version == "f2.0.1"
    reforge = webui(tmp_path / "r", REFORGE)
    assert read_install(reforge).program.kind == "classic"
    (reforge / REFORGE[-1]).write_text("def load_models_gpu(models, memory_required=0, minimum_memory_required=None): ...")
    assert read_install(reforge).program.kind == "reforge"
    sdnext = read_install(webui(tmp_path / "s", (*A1111, "modules/modeldata.py", "modules/sd_offload.py")))
    assert (sdnext.program.kind, sdnext.program.name, sdnext.version) == ("sdnext", "SD.Next", "")


def test_a_webui_is_found_from_inside_and_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = webui(tmp_path / "webui")
    inside = folder / "extensions" / "somewhere"
    inside.mkdir(parents=True)
    assert find_webui(folder) == find_webui(inside) == folder
    assert find_webui(tmp_path) is None
    assert not is_webui(tmp_path)
    (tmp_path / "checkout").mkdir()
    (folder / "extensions" / "linked").symlink_to(tmp_path / "checkout")
    monkeypatch.setenv("PWD", str(folder / "extensions" / "linked"))
    assert find_webui(tmp_path / "checkout") == folder
    monkeypatch.setenv("PWD", str(folder))
    assert find_webui(tmp_path / "checkout") is None, "PWD of another folder does not count"


def test_folders_come_from_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = webui(tmp_path / "webui")
    plain = read_install(folder)
    assert (plain.data_folder, plain.embeddings_folder) == (folder, folder / "embeddings")
    monkeypatch.setenv("COMMANDLINE_ARGS", f"--data-dir {tmp_path} --api --gradio-auth me:secret")
    moved = read_install(folder)
    assert (moved.data_folder, moved.embeddings_folder) == (tmp_path, tmp_path / "embeddings")
    assert moved.options == ("--data-dir", "--api", "--gradio-auth")
    monkeypatch.setenv("COMMANDLINE_ARGS", "--embeddings-dir=elsewhere 'open quote")
    assert read_install(folder).embeddings_folder == folder / "elsewhere"


def test_options_come_from_the_start_script(tmp_path: Path) -> None:
    script = '#export COMMANDLINE_ARGS="--no"\nexport COMMANDLINE_ARGS="--medvram --api"\n'
    folder = webui(tmp_path, webui_user_dot_sh="")
    (folder / "webui-user.sh").write_text(script)
    (folder / "webui-user.bat").write_text("set COMMANDLINE_ARGS=--medvram --api\n")
    assert read_install(folder).options == ("--medvram", "--api")


def test_settings_that_cannot_be_read_are_empty(tmp_path: Path) -> None:
    folder = webui(tmp_path)
    for text in ("", "{", "[1]", "\x00"):
        (folder / "config.json").write_text(text)
        assert read_install(folder).settings == {}
    (folder / "config.json").write_text(json.dumps({"sd_model_checkpoint": "a.safetensors"}))
    assert read_install(folder).settings == {"sd_model_checkpoint": "a.safetensors"}


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_closed_folder_is_no_webui_and_raises_nothing(tmp_path: Path) -> None:
    webui(tmp_path / "closed" / "webui")
    code = "from pathlib import Path; import sys; from train_embedding.services.diagnosis.install import is_webui, read_install\n"
    code += "print(is_webui(Path(sys.argv[1])), read_install(Path(sys.argv[1])).version)"
    (tmp_path / "closed").chmod(0)
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    command = [*before, sys.executable, "-S", "-c", code, str(tmp_path / "closed" / "webui")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    (tmp_path / "closed").chmod(0o755)
    assert done.stdout.strip() == "False", done.stderr


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    assert read_commit(tmp_path) == ""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/master\n")
    assert read_commit(tmp_path) == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/master\n")
    assert read_commit(tmp_path) == "82a973c0"
    (git / "refs" / "heads" / "master").write_text(f"{COMMIT[::-1]}\n")
    assert read_commit(tmp_path) == COMMIT[::-1][:8]
    (git / "HEAD").write_text(f"{COMMIT}\n")
    assert read_commit(tmp_path) == "82a973c0"
    worktree = tmp_path / "worktree"
    worktree.mkdir()
    (worktree / ".git").write_text("gitdir: ../.git/worktrees/w\n")
    (git / "worktrees" / "w").mkdir(parents=True)
    (git / "worktrees" / "w" / "HEAD").write_text("ref: refs/heads/master\n")
    (git / "worktrees" / "w" / "commondir").write_text("../..\n")
    assert read_commit(worktree) == COMMIT[::-1][:8]


def test_copies_of_the_extension_are_found(tmp_path: Path) -> None:
    for name in ("good", "archive/archive"):
        (tmp_path / name / "scripts").mkdir(parents=True)
        (tmp_path / name / "scripts" / "train_embedding_tab.py").touch()
    (tmp_path / "good" / "train_embedding").mkdir()
    (tmp_path / "good" / "train_embedding" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    assert find_extensions(tmp_path) == [tmp_path / "good"]
    assert find_nested_extensions(tmp_path) == [tmp_path / "archive" / "archive"]
    assert (read_version(tmp_path / "good"), read_version(tmp_path / "archive")) == ("1.2.3", "")
    assert find_extensions(tmp_path / "none") == []
