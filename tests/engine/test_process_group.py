"""Processes that ask and answer each other: real ones over gloo."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import ROOT, ended, environment, start_all
from train_embedding.engine.process_group import ALONE, joined

TALK = """
import os, sys, torch
from train_embedding.engine.process_group import joined
from train_embedding.errors import TrainingFailed

def fail():
    raise KeyError("mine")

with joined() as processes:
    if processes.rank == 0:
        print(processes.ask({"add": torch.tensor([1.5])}, lambda: "main"))
        try:
            processes.ask("again", fail)
        except KeyError as error:
            print("failed", error)
        print(processes.ask("last", lambda: processes.count))
    else:
        processes.serve(lambda task: (processes.rank, task))
        print("dismissed")
sys.stdout.flush()
os._exit(0)  # as the command line ends: see `cli.common.leave`
"""
LOSE = """
import os, signal, sys
from train_embedding.engine.process_group import joined
from train_embedding.errors import TrainingFailed

with joined() as processes:
    try:
        if processes.rank == 0:
            print(processes.ask("first", lambda: 0))
            print(processes.ask("die", lambda: 0))
        else:
            processes.serve(lambda task: os.kill(os.getpid(), signal.SIGKILL) if (processes.rank, task) == (1, "die") else task)
    except TrainingFailed as error:
        print(error)
sys.stdout.flush()
os._exit(0)
"""


def test_who_was_started_alone_asks_nobody() -> None:
    with joined({}) as processes:
        assert processes is ALONE
        assert (processes.rank, processes.count) == (0, 1)
    with joined({"RANK": "0", "WORLD_SIZE": "1"}) as processes:
        assert processes is ALONE
    with joined({"WORLD_SIZE": "2"}) as processes:  # a cluster's variable, and no launcher's
        assert processes is ALONE


def test_being_alone_loads_nothing() -> None:
    code = (
        "import sys\nfrom train_embedding.engine.process_group import joined\n"
        "with joined(): print([name for name in sys.modules if name.startswith(('torch', 'accelerate'))])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_asking_answering_and_ending() -> None:
    (code, said, errors), *others = ended(start_all(3, ["-W", "error", "-c", TALK]))
    assert (code, errors) == (0, "")
    assert said.splitlines() == [
        "['main', (1, {'add': tensor([1.5000])}), (2, {'add': tensor([1.5000])})]",
        "failed 'mine'",
        "[3, (1, 'last'), (2, 'last')]",
    ]
    assert [(code, said) for code, said, _ in others] == [(0, "dismissed\n")] * 2


def test_a_process_that_dies_is_noticed_by_all() -> None:
    (code, said, _), (killed, _, _), (other_code, other_said, _) = ended(start_all(3, ["-c", LOSE]))
    assert (code, other_code) == (0, 0)
    assert killed < 0
    lost = "The connection to another of the processes was lost. What that one printed last may say why; the run can be resumed."
    assert said.splitlines() == ["[0, 'first', 'first']", lost]
    assert other_said.splitlines() == [lost]
