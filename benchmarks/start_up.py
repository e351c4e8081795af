"""Time that the extension adds to the start of a WebUI: `python -m benchmarks.start_up --python WEBUI/venv/bin/python`.

A new process of that interpreter imports what a WebUI has loaded by then (torch, gradio, fastapi, pillow) and builds a page. Then
the services are created with a host that only has folders, the tab is built, and the API is mounted. The result is the median of
several processes, after one that compiles the modules, as the first start after an update does. Garbage collection is off during
the measurement: a pass over all that the WebUI has loaded takes a tenth of a second or more, at a random moment.
`hosts/detect.py` imports further modules, but a WebUI has loaded them already.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = ("script", "services", "tab", "API")
_STARTS = """
import gc, json, sys, tempfile, time, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import fastapi, gradio, markupsafe, numpy, PIL.Image, torch
import safetensors.torch

with gradio.Blocks():  # the program's own pages
    gradio.Button().click(lambda text: text, [gradio.Textbox()], [gradio.HTML()])
gc.collect()
gc.disable()
app, times, before = fastapi.FastAPI(), [time.perf_counter()], set(sys.modules)

from train_embedding import webui
times.append(time.perf_counter())

from train_embedding.testing import FakeHost
from train_embedding.services import Services
services = Services(FakeHost(Path(tempfile.mkdtemp())))
times.append(time.perf_counter())

from train_embedding.ui.tab import build
build(services)
times.append(time.perf_counter())

from train_embedding.api.routes import mount
mount(app, services, [])
times.append(time.perf_counter())

spans = [later - earlier for earlier, later in zip(times, times[1:])]
print(json.dumps([gradio.__version__, spans, len(set(sys.modules) - before)]))
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", action="append", type=Path, help="interpreter of a WebUI; may be given again (this one)")
    parser.add_argument("--times", type=int, default=7, help="processes of each (7)")
    chosen = parser.parse_args(arguments)
    print(f"| gradio | modules | {' | '.join(STEPS)} | together |\n|---|---:|{'---:|' * (len(STEPS) + 1)}")
    for python in chosen.python or [Path(sys.executable)]:
        print(row(*measured(python, chosen.times)), flush=True)
    return 0


def measured(python: Path, times: int) -> tuple[str, int, list[float]]:
    """gradio's version, how many modules are loaded for it, and the median seconds of each step."""
    _start(python)  # writes the bytecode
    starts = [_start(python) for _ in range(times)]
    version, _, modules = starts[0]
    return version, modules, [statistics.median(spans) for spans in zip(*(spans for _, spans, _ in starts), strict=True)]


def row(version: str, modules: int, spans: list[float]) -> str:
    """A line of the table."""
    return f"| {version} | {modules} | {' | '.join(f'{span:.3f} s' for span in (*spans, sum(spans)))} |"


def _start(python: Path) -> tuple[str, list[float], int]:
    command = [python.absolute(), "-c", _STARTS]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # programs that people start keep the bytecode
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    version, spans, modules = json.loads(done.stdout.splitlines()[-1])
    return version, spans, modules


if __name__ == "__main__":
    sys.exit(main())
