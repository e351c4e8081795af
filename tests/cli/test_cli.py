"""The command line: output, exit codes and errors."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.words import word_model
from train_embedding import __version__
from train_embedding.cli import COMMANDS, main, train
from train_embedding.cli.common import call_on_stop_signals
from train_embedding.engine.config.spec import DEFAULT_TEMPLATE, OPTIONS, TrainingSpec
from train_embedding.errors import InvalidSpec
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.services.training.runs import Runs
from train_embedding.services.training.step_times import FILE, StepTime, add_step_time
from train_embedding.testing import FakeHost
from train_embedding.translations import LANGUAGES

SPEC = TrainingSpec("my-cat", "/pictures")

ROOT = Path(__file__).parents[2]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err.strip()


class CommandNames:
    """Collects the names of the commands that are added to it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        for add_to in COMMANDS:
            add_to(self)

    def add_parser(self, name: str, **_options: Any) -> argparse.ArgumentParser:
        self.names.append(name)
        return argparse.ArgumentParser()


@pytest.mark.parametrize("verb", CommandNames().names)
def test_help_loads_nothing_heavy(verb: str) -> None:
    code = (
        "import sys\nfrom train_embedding.cli import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'PIL', 'gradio', 'fastapi', 'diffusers', 'tqdm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_m_train_embedding_answers_the_exit_code() -> None:
    command = [sys.executable, "-m", "train_embedding"]
    version = subprocess.run([*command, "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert version.stdout.strip() == __version__
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False).returncode == 2


def test_create_and_list(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "my-cat", "--init-text", "a red cat"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"Created my-cat with 3 vectors: {data / 'embeddings' / 'my-cat.pt'}"
    assert main(["list"]) == 0
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split() == ["name", "family", "vectors", "step", "format", "KB", "modified", "hash", "not", "loaded"]
    assert row.split()[:5] == ["my-cat", "SD1", "3", "0", "webui"]


def test_create_and_list_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "ünï", "--vectors", "2", "--format", "safetensors", "--json"]) == 0
    created = json.loads(capsys.readouterr().out)
    assert (created["name"], created["vectors"], created["tokens"]) == ("ünï", 2, 0)
    assert created["file"] == str(data / "embeddings" / "ünï.safetensors")
    assert "zeros" in created["notes"][0]
    assert main(["list", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["ünï"]


def test_an_empty_library(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("There are no embeddings in train-embedding-data.")
    assert main(["list", "--json", "--data", str(data / "other")]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_damaged_file_does_not_stop_the_list(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "embeddings").mkdir(parents=True)
    (data / "embeddings" / "broken.pt").write_bytes(b"x")
    assert main(["list"]) == 0
    assert "broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["create", "a/b"], 2, "contains '/'"),
        (["create", ""], 2, "The name is empty."),
        (["create", "my-cat", "--vectors", "0"], 2, "from 1 to 75"),
        (["create", "my-cat", "--vectors", "76"], 2, "from 1 to 75"),
        (["create", "my-cat", "--vectors", "many"], 2, "from 1 to 75"),
        (["create", "my-cat", "--checkpoint", "none.safetensors"], 3, 'The checkpoint "none.safetensors" does not exist.'),
        (["train", "nobody", "."], 3, 'There is no embedding "nobody".'),
        (["train", "old", "nowhere"], 3, "does not exist"),
        (["train", "old"], 2, 'FOLDER is missing. Give a folder of images, or a long prompt as "--teacher-prompt".'),
        (["train", "old", "."], 7, "There are no images"),
        (["train", "old", ".", "--learning-rate", "5e-3:10:20"], 2, '"5e-3:10:20" is not a learning rate.'),
        (["train", "old", ".", "--steps", "0"], 2, "--steps is 0"),
        (["train", "old", ".", "--template", "nothing"], 3, 'There is no caption template "nothing".'),
        (["create", "old"], 4, 'There is already an embedding "old". Choose another name, or use "--overwrite".'),
        (["copy", "old", "old"], 4, 'There is already an embedding "old". Choose another name.'),
    ],
)
def test_errors_are_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    main(["create", "old"])
    capsys.readouterr()
    assert main(arguments) == code
    assert sentence in error_line(capsys)


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["create"], ["train"], ["train", "a", "b", "--optimizer", "slow"], ["create", "a", "--format", "ckpt"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_every_field_of_the_spec_is_an_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # no line breaks after hyphens
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    named = [option for option in OPTIONS if option.name not in ("embedding", "dataset")]
    assert len(named) == len(dataclasses.fields(TrainingSpec)) - 2
    assert [option.flag for option in named if option.flag not in shown] == []
    assert [option.name for option in named if option.help not in shown] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--steps", "0"], "--steps is 0; it must be a whole number from 1 to 1,000,000."),
        (["--caption-tag-dropout-rate", "2"], "--caption-tag-dropout-rate is 2.0; it must be a number from 0 to 1."),
    ],
)
def test_a_bad_value_is_named_as_it_is_typed(data: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        spec_for(data, *options)
    assert caught.value.message == sentence


def spec_for(data: Path, *options: str) -> TrainingSpec:
    from train_embedding.cli import parser

    return train.spec_of(parser().parse_args(["train", "my-cat", "pictures", *options]), Services(FakeHost(data)))


def test_options_become_the_spec(data: Path) -> None:
    assert spec_for(data) == TrainingSpec.from_json({"embedding": "my-cat", "dataset": "pictures"})
    classic = spec_for(
        data, "--preset", "WebUI classic", "--steps", "7", "--shuffle-caption", "--caption-tag-dropout-rate", "0.5"
    )
    assert (classic.batch_size, classic.steps, classic.shuffle_caption, classic.caption_tag_dropout_rate) == (1, 7, True, 0.5)


def test_a_prompt_to_distil_needs_no_folder(data: Path) -> None:
    from train_embedding.cli import parser

    chosen = parser().parse_args(["train", "my-cat", "--teacher-prompt", "a long text"])
    spec = train.spec_of(chosen, Services(FakeHost(data)))
    assert spec == TrainingSpec.from_json({"embedding": "my-cat", "teacher_prompt": "a long text"})
    assert spec.distills


def test_caption_lines_and_templates(data: Path) -> None:
    assert spec_for(data).template == DEFAULT_TEMPLATE
    (data / "templates").mkdir(parents=True, exist_ok=True)
    (data / "templates" / "mine.txt").write_text("an old [name]\na new [name]\n", encoding="utf-8")
    spec = spec_for(data, "--template", "[name]!", "--template", "mine")
    assert spec.template == ("[name]!", "an old [name]", "a new [name]")


class FakeRuns:
    """Goes one step at each look; ends after three, or when it is stopped. `interrupt_at`: the look that `signals` fall into."""

    def __init__(self, end: dict[str, Any], interrupt_at: int = 0, signals: tuple[int, ...] = (signal.SIGINT,)) -> None:
        self.state = RunState("1", "my-cat", Path("/runs/1"), SPEC, status="running", steps=3)
        self.end = end
        self.looks = 0
        self.interrupt_at = interrupt_at
        self.signals = signals

    def start(self, _spec: TrainingSpec) -> RunState:
        return self.state

    def wait(self, _run_id: str, timeout: float | None = None) -> RunState:
        if timeout is None:  # to the very end
            assert not self.state.active
            return self.state
        self.looks += 1
        if self.looks == self.interrupt_at:
            for number in self.signals:
                signal.raise_signal(number)
        if self.state.status == "stopping" or self.state.step == 2:
            self.state = dataclasses.replace(self.state, **self.end)
        else:
            self.state = dataclasses.replace(self.state, step=self.state.step + 1, loss=0.25)
        return self.state

    def stop(self, _run_id: str) -> RunState:
        self.state = dataclasses.replace(self.state, status="stopping")
        return self.state


def run_with(monkeypatch: pytest.MonkeyPatch, runs: FakeRuns, *options: str) -> int:
    for name in ("start", "wait", "stop"):
        monkeypatch.setattr(Runs, name, lambda _self, *values, _name=name: getattr(runs, _name)(*values))
    return main(["train", "my-cat", "pictures", *options])


def test_a_dry_run_checks_and_estimates_without_training(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, info = tmp_path / "images", FakeHost(data.resolve(), model=word_model()).info()
    images.mkdir()
    Image.new("RGB", (64, 64), "red").save(images / "a.png")
    assert main(["train", "my-cat", str(images), "--dry-run"]) == 3
    assert main(["create", "my-cat", "--vectors", "1"]) == 0
    kind = (info.widths, info.resolution, info.device, info.dtype, info.resolution, info.resolution)
    add_step_time(info.runs_folder, StepTime("2026-11-28", "a checkpoint", *kind, 2, False, step=0.5))
    capsys.readouterr()
    options = ["--steps", "200", "--eval-every", "0", "--preview-every", "0", "--dry-run"]
    assert main(["train", "my-cat", str(images), *options]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "About 2 min for 200 steps."
    assert main(["train", "my-cat", str(images), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["time"]["seconds_at_most"] == 100
    assert [path.name for path in info.runs_folder.iterdir()] == [FILE]


FILES = (Path("/data/my-cat.pt"), Path("/runs/1/3.pt"))


def test_train_shows_progress_and_names_the_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = FakeRuns({"status": "finished", "step": 3, "seconds": 65.2, "files": FILES, "notes": ('"x.png" was skipped.',)})
    assert run_with(monkeypatch, runs) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Finished my-cat: 3 steps in 1:05.", "Saved to /data/my-cat.pt", '"x.png" was skipped.',
    ]  # fmt: skip
    assert "3/3" in captured.err
    assert "loss=0.2500" in captured.err


def test_train_tells_what_was_left_out_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = tmp_path / "captions", str(tmp_path / "data")
    folder.mkdir()
    for name in ("a", "utf16", "latin"):
        Image.new("RGB", (64, 64), "red").save(folder / f"{name}.png")
    (folder / "a.txt").write_text(r"a \(red\) ball, (blue:1.4) sky, [grey] stone, BREAK green leaf")
    (folder / "utf16.txt").write_bytes("a red ball".encode("utf-16"))
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    assert main(["create", "my-cat", "--init", "cat", "--data", data]) == 0
    capsys.readouterr()
    assert main(["train", "my-cat", str(folder), "--data", data, "--steps", "1", "--template", "[name], [filewords]"]) == 0
    captured = capsys.readouterr()
    sentence = '"latin.png" was skipped: The caption file "latin.txt" is not UTF-8 or UTF-16 text. Save it as UTF-8.'
    assert captured.err.index(sentence) < captured.err.index("0/1")
    assert sentence not in captured.out
    assert "utf16" not in captured.err + captured.out


def test_train_as_json(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, FakeRuns({"status": "finished", "step": 3, "files": FILES}), "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["status"], state["step"], state["files"]) == ("finished", 3, [str(file) for file in FILES])


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_control_c_stops_and_keeps_the_result(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: tuple[int, ...]
) -> None:
    """A launcher passes on the Ctrl-C that has reached the process already."""
    runs = FakeRuns({"status": "stopped", "step": 1, "files": FILES}, interrupt_at=2, signals=signals)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run_with(monkeypatch, runs) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert capsys.readouterr().out.splitlines()[:2] == ["Stopped my-cat: 1 step in 0:00.", "Saved to /data/my-cat.pt"]


def test_a_signal_that_a_launcher_passes_on_late_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with call_on_stop_signals(lambda: None):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
    try:
        for number in before:
            signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    with call_on_stop_signals(lambda: None):
        monkeypatch.delenv("RANK")
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_run_that_fails_is_an_error_that_keeps_its_files(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end = {"status": "failed", "step": 2, "files": FILES, "error": "The loss became NaN at step 2.", "hint": "Try a lower rate."}
    assert run_with(monkeypatch, FakeRuns(end)) == 9
    captured = capsys.readouterr()
    assert captured.out == "Saved to /data/my-cat.pt\n"
    assert captured.err.splitlines()[-1] == "error: The loss became NaN at step 2. Try a lower rate."


def test_control_c_elsewhere(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_self: Services) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train_embedding.services.library.library.Library.list", interrupted)
    assert main(["list"]) == 130
    assert error_line(capsys) == "error: interrupted"


ROWS = [
    {"family": "SD1", "resolution": 512, "forward_tflop": 0.803, "step_tflop": 1.669, "ratio": 2.079},
    {"family": "SDXL", "resolution": 1024, "forward_tflop": 6.761, "step_tflop": 14.024, "ratio": 2.074},
]


@pytest.fixture
def flops(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("train_embedding.engine.profiling.flops")
    module.flop_table = lambda: ROWS  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.usefixtures("flops")
def test_bench_flops(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "flops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["SD1", "512", "0.803", "1.669", "2.079"]
    assert len(lines) == 3


@pytest.mark.usefixtures("flops")
def test_bench_flops_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "flops", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ROWS


MEMORY = [
    {"family": "SD1", "resolution": 512, "batch": 1, "checkpointing": False, "frozen_layers": True, "autocast": "",
     "saved_gib": 0.459, "peak_gib": 0.545, "weights_gib": 1.986, "smallest_card_gib": 4},
]  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_bench_memory(as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = ModuleType("train_embedding.engine.profiling.memory")
    module.memory_table = lambda: MEMORY  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["bench", "memory", *(["--json"] if as_json else [])]) == 0
    printed = capsys.readouterr().out
    if as_json:
        assert json.loads(printed) == MEMORY
    else:
        assert printed.splitlines()[1].split() == ["SD1", "512", "1", "yes", "no", "0.459", "0.545", "1.986", "4"]


LAUNCHES = [
    {"family": "SD1", "resolution": 512, "autocast": "bfloat16", "unet": 3346, "text_encoders": 822, "casts": 2203,
     "cast_gb": 10.03},
]  # fmt: skip


def test_bench_launches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = ModuleType("train_embedding.engine.profiling.launches")
    module.launch_table = lambda: LAUNCHES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["bench", "launches"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["SD1", "512", "bfloat16", "3346", "822", "2203", "10.030"]


def test_demo_prints_its_result_as_the_last_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []

    def run_demo(*values: Any, say: Any, **options: Any) -> Any:
        calls.append((*values, options["seed"]))
        say("a sentence")
        return SimpleNamespace(to_json=lambda: {"embedding": "my-lime"})

    module = ModuleType("train_embedding.demo.run")
    module.run_demo, module.export_checkpoint = run_demo, lambda folder: folder / "demo.safetensors"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["demo", "--output", "out"]) == 0
    assert capsys.readouterr().out.splitlines() == ["a sentence", '{"embedding": "my-lime"}']
    assert main(["demo", "--set", "checker", "--output", "out", "--seed", "1", "--json"]) == 0
    assert capsys.readouterr().out.splitlines() == ['{"embedding": "my-lime"}']
    assert calls == [("lime", Path("out"), 0), ("checker", Path("out"), 1)]
    assert main(["demo", "--export", "models"]) == 0
    assert capsys.readouterr().out.strip() == str(Path("models") / "demo.safetensors")


def test_app_on_a_taken_port_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 4
    assert f"Cannot listen on 127.0.0.1:{port}" in error_line(capsys)


def served(data: Path, ready: str, application: str = "FastAPI()") -> str:
    """What a process prints that serves an application; `ready` is the body of the function that gets the sentence.

    A process of its own: a server wants a thread without an event loop, and signals.
    """
    pytest.importorskip("gradio")
    code = (
        "import asyncio, re, signal, socket, sys, threading, urllib.request\nfrom pathlib import Path\n"
        "from fastapi import FastAPI\nfrom fastapi.responses import StreamingResponse\nfrom train_embedding.app import server\n"
        "from train_embedding.app.languages import LanguageApps\nfrom train_embedding.testing import FakeHost\n"
        "from train_embedding.services import Services\n"
        f"def ready(sentence):\n{indent(dedent(ready), ' ' * 4)}\n"
        f"page = {application}\n"
        "server.application = lambda *_values: LanguageApps({'en': page})\n"
        "try: server.serve(Services(FakeHost(Path(sys.argv[1]))), port=0, ready=ready)\n"
        "except KeyboardInterrupt: pass\n"
        "print('it has ended')\n"
    )
    command = [sys.executable, "-c", code, str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_address_of_the_app_is_said_once_it_answers(data: Path) -> None:
    ready = r"""
        port = int(re.search(r'http://127\.0\.0\.1:(\d+)/', sentence)[1])
        socket.create_connection(('127.0.0.1', port), timeout=60).close()
        print('it answers')
        signal.raise_signal(signal.SIGINT)
    """
    assert served(data, ready) == "it answers\nit has ended\n"


@pytest.mark.slow
def test_ctrl_c_ends_the_app_though_a_page_is_open(data: Path) -> None:
    """gradio's pages keep a stream open."""
    ready = """
        def watch(address):
            with urllib.request.urlopen(address + 'stream', timeout=60) as stream:
                stream.read(4)
                signal.raise_signal(signal.SIGINT)
                threading.Event().wait()
        threading.Thread(target=watch, args=[sentence.split()[2]], daemon=True).start()
    """
    application = (
        "(app := FastAPI(), app.get('/stream')(lambda: StreamingResponse(beats())))[0]\n"
        "async def beats():\n"
        "    while True:\n"
        "        yield b'beat'\n"
        "        await asyncio.sleep(0.1)\n"
    )
    assert served(data, ready, application) == "it has ended\n"


def test_app_on_a_shared_server_names_the_allowed_folders(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from train_embedding.app import server

    hosts: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda services, *_rest, **_more: hosts.append(services.host.info().allowed_folders))
    assert main(["app"]) == 0
    assert main(["app", "--listen", "--train-embedding-allow", str(tmp_path / "pictures")]) == 0
    assert hosts == [None, (data.resolve(), (tmp_path / "pictures").resolve())]


def test_the_language_of_the_app_is_chosen_or_left_to_the_browser(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio")
    from train_embedding.app import server

    chosen: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda *_values, languages: chosen.append(tuple(languages)))
    assert main(["app"]) == main(["app", "--language", "zh_CN"]) == 0
    assert chosen == [tuple(LANGUAGES), ("zh_CN",)]


def test_app_lets_in_whom_its_options_say(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio")
    from train_embedding.app import server
    from train_embedding.app.access import Access

    given: list[Access] = []
    monkeypatch.setattr(server, "serve", lambda _services, _port, access, languages: given.append(access))
    assert main(["app"]) == 0
    assert main(["app", "--listen"]) == main(["app", "--host", "192.168.1.5"]) == 0
    assert main(["app", "--listen", "--auth", "me:pass:word", "--auth", "you:other", "--allow-host", "my.example"]) == 0
    monkeypatch.setenv("TRAIN_EMBEDDING_AUTH", "a:b\nc:d")
    assert main(["app", "--listen"]) == 0
    own, everywhere, one, accounts, variable = given
    assert (own.host, own.guarded, own.listens) == ("127.0.0.1", False, False)
    assert (everywhere.host, one.host) == ("0.0.0.0", "192.168.1.5")
    assert min(len(everywhere.token), len(one.token)) >= 32
    assert everywhere.token != one.token
    assert (accounts.accounts, accounts.names, accounts.token) == (("me:pass:word", "you:other"), ("my.example",), "")
    assert (variable.accounts, variable.token) == (("a:b", "c:d"), "")
    for wrong in ("me", ":word", "me:"):
        assert main(["app", "--auth", wrong]) == 2
        assert "not of the form USER:PASSWORD" in error_line(capsys)


def test_control_c_ends_the_app_and_the_training_in_it(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio")
    from train_embedding.app import server

    def serve(*_values: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    calls: list[str] = []
    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(Runs, "current", lambda _self: RunState("1", "my-cat", data, SPEC, status="running"))
    monkeypatch.setattr(Runs, "stop", lambda _self, run_id: calls.append(f"stop {run_id}"))
    monkeypatch.setattr(Runs, "wait", lambda _self, run_id: calls.append(f"wait {run_id}"))
    assert main(["app"]) == 0
    assert calls == ["stop 1", "wait 1"]
    assert "Stopping the training of my-cat; the result is kept." in capsys.readouterr().out


def test_a_picture_folder_outside_is_refused_on_a_shared_server(data: Path, tmp_path: Path) -> None:
    from train_embedding.errors import NotAllowed

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(NotAllowed, match="outside the folders"):
        Services(FakeHost(data, allowed_folders=(data,))).datasets.inspect(tmp_path)
