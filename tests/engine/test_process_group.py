"""Processes that exchange tasks and answers: real ones over gloo."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import ROOT, ended, environment, start_all
from train_embedding.engine.process_group import SINGLE_PROCESS, process_group

TALK = """
import os, sys, torch
from train_embedding.engine.process_group import process_group
from train_embedding.errors import TrainingFailed

def fail():
    raise KeyError("mine")

with process_group() as processes:
    if processes.rank == 0:
        print(processes.run({"add": torch.tensor([1.5])}, lambda: "main"))
        try:
            processes.run("again", fail)
        except KeyError as error:
            print("failed", error)
        print(processes.run("last", lambda: processes.count))
    else:
        processes.serve(lambda task: (processes.rank, task))
        print("dismissed")
sys.stdout.flush()
os._exit(0)  # as the command line ends: see `cli.common.exit_process`
"""
LOSE = """
import os, signal, sys
from train_embedding.engine.process_group import process_group
from train_embedding.errors import TrainingFailed

with process_group() as processes:
    try:
        if processes.rank == 0:
            print(processes.run("first", lambda: 0))
            print(processes.run("die", lambda: 0))
        else:
            processes.serve(lambda task: os.kill(os.getpid(), signal.SIGKILL) if (processes.rank, task) == (1, "die") else task)
    except TrainingFailed as error:
        print(error)
sys.stdout.flush()
os._exit(0)
"""


def test_a_single_process_has_no_group() -> None:
    with process_group({}) as processes:
        assert processes is SINGLE_PROCESS
        assert (processes.rank, processes.count) == (0, 1)
    with process_group({"RANK": "0", "WORLD_SIZE": "1"}) as processes:
        assert processes is SINGLE_PROCESS
    with process_group({"WORLD_SIZE": "2"}) as processes:  # a cluster's variable, and no launcher's
        assert processes is SINGLE_PROCESS


def test_a_single_process_imports_nothing() -> None:
    code = (
        "import sys\nfrom train_embedding.engine.process_group import process_group\n"
        "with process_group(): print([name for name in sys.modules if name.startswith(('torch', 'accelerate'))])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_tasks_answers_and_the_end() -> None:
    (code, said, errors), *others = ended(start_all(3, ["-W", "error", "-c", TALK]))
    assert (code, errors) == (0, "")
    assert said.splitlines() == [
        "['main', (1, {'add': tensor([1.5000])}), (2, {'add': tensor([1.5000])})]",
        "failed 'mine'",
        "[3, (1, 'last'), (2, 'last')]",
    ]
    assert [(code, said) for code, said, _ in others] == [(0, "dismissed\n")] * 2


@pytest.mark.slow
def test_a_process_that_dies_is_noticed_by_all() -> None:
    (code, said, _), (killed, _, _), (other_code, other_said, _) = ended(start_all(3, ["-c", LOSE]))
    assert (code, other_code) == (0, 0)
    assert killed < 0
    lost = "The connection to another process was lost. See the last lines that it printed. You can resume the run."
    assert said.splitlines() == ["[0, 'first', 'first']", lost]
    assert other_said.splitlines() == [lost]
