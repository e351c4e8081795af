"""Times of a process's steps, with the CPU time it spent on them, read from Linux's /proc."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.peers import Steps

_LISTENING = "0A"


class StepClock:
    """Is told when each step of a process has ended. pid: None where the process is not known."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._ends: list[float] = []
        self._cpu: list[float | None] = []

    def tick(self, when: float | None = None) -> None:
        """when: in seconds of any clock that all ticks share; None for now."""
        self._ends.append(time.perf_counter() if when is None else when)
        self._cpu.append(None if self._pid is None else cpu_seconds(self._pid))

    def steps(self) -> Steps:
        seconds = [after - before for before, after in pairwise(self._ends)]
        first, last = self._cpu[0], self._cpu[-1]
        cores = None if first is None or last is None or not seconds else (last - first) / sum(seconds)
        return Steps(seconds, cores)


def cpu_seconds(pid: int) -> float | None:
    """What the process has spent in all its threads; None where it has ended, or this is not Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pid_on_port(port: int) -> int | None:
    """The process on this machine that listens there; None where none is found."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        try:
            if str(link.readlink()) in sockets:
                return int(link.parts[2])
        except OSError:  # it was closed meanwhile, or is another user's
            continue
    return None


def _listening(port: int) -> list[str]:
    found: list[str] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found
