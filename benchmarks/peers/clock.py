"""Times of the steps of a process, and its CPU time from Linux's /proc."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.peers import Steps

_LISTENING = "0A"


class StepClock:
    """Records the end of each step of a process, whose id is None if unknown."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._ends: list[float] = []
        self._cpu: list[float | None] = []

    def tick(self, when: float | None = None) -> None:
        """Record the end of a step.

        Args:
            when: Seconds of a clock that all calls share; None for now.
        """
        self._ends.append(time.perf_counter() if when is None else when)
        self._cpu.append(None if self._pid is None else cpu_seconds(self._pid))

    def steps(self) -> Steps:
        seconds = [after - before for before, after in pairwise(self._ends)]
        first, last = self._cpu[0], self._cpu[-1]
        cores = None if first is None or last is None or not seconds else (last - first) / sum(seconds)
        return Steps(seconds, cores)


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of all threads of a process; None if it has ended, or on other systems than Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pid_on_port(port: int) -> int | None:
    """Return the id of the process that listens on a port; None if none is found."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        try:
            if str(link.readlink()) in sockets:
                return int(link.parts[2])
        except OSError:  # it was closed meanwhile, or belongs to another user
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
