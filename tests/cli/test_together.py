"""Training in several processes from the command line, as people start it: one result, written once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures, save_pictures, tiny_checkpoint
from tests.processes import PATIENCE, ROOT, ended, environment, free_port, start_all
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.training.resume import RESUME_FILE, read_resume
from train_embedding.services.run_records import RunState, load_state

__all__ = ["pictures", "tiny_checkpoint"]

pytestmark = pytest.mark.slow

SPEC = [
    "--steps", "6", "--learning-rate", "0.01", "--ema-decay", "0.5", "--latent-sampling", "random", "--random-flip",
    "--optimizer", "adamw", "--lr-scheduler", "constant", "--no-early-stopping",
]  # fmt: skip
EVALUATED = ["--eval-every", "3", "--save-every", "4", "--preview-every", "6", "--preview-steps", "2"]
TOLERANCE = 5e-4
"Of the vectors, to their norm: other sums round in another order, how much depends on the processor (1.3e-4 was the most)."
LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "{port}"],
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
}


class Data:
    """A data folder with an untrained embedding."""

    def __init__(self, folder: Path, checkpoint: Path, pictures: Path) -> None:
        self.folder = folder
        self.host = ["--data", str(folder), "--checkpoint", str(checkpoint)]
        self._pictures = str(pictures)
        self.command("create", "sword", "--init-text", "red star")
        self.before = self.vectors()

    def train(self, *options: str) -> list[str]:
        return ["train_embedding", "train", "sword", self._pictures, *SPEC, *options, *self.host]

    def command(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "train_embedding", *arguments, *self.host]
        subprocess.run(command, cwd=ROOT, env=environment(), timeout=PATIENCE, check=True, capture_output=True)

    def vectors(self) -> torch.Tensor:
        return read_embedding(self.folder / "embeddings" / "sword.pt").vectors["clip_l"]

    def run(self) -> RunState:
        (folder,) = (path for path in (self.folder / "runs").iterdir() if path.is_dir())
        return load_state(folder)

    def saved(self) -> dict[str, Any]:
        return read_resume(self.run().folder / RESUME_FILE)["state"]

    def files(self) -> list[str]:
        """Every file of the run and of the latent cache; a temporary one would be among them."""
        run = self.run().folder
        found = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
        return sorted(name for name in found if not name.startswith("tensorboard/"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Data:
    """An embedding that one process has trained, with batches of 4."""
    folder = tmp_path_factory.mktemp("one")
    data = Data(folder / "data", tiny_checkpoint, save_pictures(folder / "pictures"))
    data.command(*data.train("--batch-size", "4", *EVALUATED)[1:-4])
    return data


@pytest.fixture
def two(tmp_path: Path, tiny_checkpoint: Path, pictures: Path) -> Data:
    return Data(tmp_path / "two", tiny_checkpoint, pictures)


@contextmanager
def launched(launcher: str, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """In a session of its own, so that a signal can reach all as Ctrl-C does, and nothing is left over."""
    options = [option.format(port=free_port()) for option in LAUNCHERS[launcher]]
    command = [sys.executable, "-m", *options, "-m", *arguments]
    started = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield started
    finally:
        kill_all(started, signal.SIGKILL)
        started.wait()


def kill_all(started: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(started.pid, number)
    except ProcessLookupError:
        assert started.poll() is not None


def wait_for_step(data: Data, step: int, started: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and started.poll() is None:
        states = [load_state(file.parent) for file in (data.folder / "runs").glob("*/state.json")]
        if states and states[0].step >= step:
            return
        time.sleep(0.05)
    pytest.fail("the run did not come so far")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_with_batch_2_equal_one_with_batch_4(one: Data, two: Data, launcher: str) -> None:
    with launched(launcher, two.train("--batch-size", "2", *EVALUATED)) as started:
        out, errors = started.communicate(timeout=PATIENCE)
    assert started.returncode == 0, errors
    assert out.splitlines()[0].startswith("Finished sword: 6 steps")
    start, processes = out.splitlines()[2:]
    assert start.startswith("Training starts from")
    assert processes == "Trained by 2 processes with 4 images per batch."
    assert torch.equal(one.before, two.before)
    ours, theirs = one.saved(), two.saved()
    for name in ("vectors", "average"):
        difference = (ours[name]["clip_l"] - theirs[name]["clip_l"]).norm()
        assert float(difference / ours[name]["clip_l"].norm()) < TOLERANCE
    assert float((one.vectors() - two.vectors()).norm() / one.vectors().norm()) < TOLERANCE
    assert [step for step, _ in theirs["evaluations"]] == [0, 3, 6]
    for (_, losses), (_, other) in zip(ours["evaluations"], theirs["evaluations"], strict=True):
        assert torch.allclose(losses, other, rtol=1e-5)
    assert two.files() == one.files()
    log = (two.run().folder / "loss.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", *map(str, range(1, 7))]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs process groups")
def test_control_c_keeps_the_result_and_the_run_goes_on(two: Data) -> None:
    steps = ["--steps", "500", "--eval-every", "0", "--batch-size", "1", "--save-every", "0"]
    with launched("torchrun", two.train(*steps)) as started:
        wait_for_step(two, 2, started)
        kill_all(started, signal.SIGINT)
        out, errors = started.communicate(timeout=PATIENCE)
    assert out.startswith("Stopped sword: "), errors
    stopped = two.run()
    assert (stopped.status, stopped.error) == ("stopped", "")
    assert not torch.equal(two.vectors(), two.before)
    with launched("torchrun", ["train_embedding", "resume", *two.host]) as started:
        wait_for_step(two, stopped.step + 1, started)
        kill_all(started, signal.SIGINT)
        out, errors = started.communicate(timeout=PATIENCE)
    assert out.startswith("Stopped sword: "), errors
    assert two.run().step > stopped.step


def test_a_process_that_is_killed_ends_all_and_the_result_is_kept(two: Data) -> None:
    arguments = two.train("--steps", "500", "--eval-every", "0", "--batch-size", "1")
    started = start_all(3, ["-m", *arguments], cwd=ROOT)
    try:
        wait_for_step(two, 2, started[0])
        started[1].kill()
    finally:
        (code, said, errors), _, (other, _, other_errors) = ended(started)
    assert (code, other) == (9, 9)
    assert "The connection to another process was lost." in errors.splitlines()[-1]
    assert other_errors.startswith("error: The connection to another process was lost.")
    assert said.startswith("Saved to")
    assert (two.run().status, two.run().resumable) == ("failed", True)
    assert not torch.equal(two.vectors(), two.before)


def test_what_the_main_process_refuses_ends_all(two: Data) -> None:
    (code, _, errors), (other, said, other_errors) = ended(
        start_all(2, ["-m", "train_embedding", "train", "nobody", str(two.folder), *two.host], cwd=ROOT)
    )
    assert (code, errors) == (3, 'error: There is no embedding "nobody".\n')
    assert (other, said, other_errors) == (0, "", "")
