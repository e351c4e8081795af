"""Results of `benchmarks.step_time`, and their table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.peers import Steps

OURS = "ours"


@dataclass(frozen=True)
class Round:
    load_before: float
    "Load average of the machine; other programs were running if it is far above 0."
    matmul_gflops: list[float]
    steps: dict[str, Steps]
    "By name of the trainer."

    def line(self) -> str:
        times = (f"{name} {median(taken.seconds):.2f} s" for name, taken in self.steps.items())
        return f"{', '.join(times)}, matmul {max(self.matmul_gflops):.0f} GFLOP/s, load {self.load_before:.1f}"


@dataclass
class Measured:
    machine: dict[str, Any]
    setting: dict[str, Any]
    step_flops: int
    "Counted operations of a step of this project."
    rounds: list[Round] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return list(self.rounds[0].steps)

    @property
    def matmul_gflops(self) -> float:
        """The best of all tries: what the machine can do when nothing disturbs it."""
        return max(speed for one in self.rounds for speed in one.matmul_gflops)

    def seconds(self, name: str) -> list[float]:
        return [second for one in self.rounds for second in one.steps[name].seconds]

    def ratio(self, name: str) -> float:
        """How many times as long as ours a step takes, from the medians over all rounds."""
        return median(self.seconds(name)) / median(self.seconds(OURS))

    def round_ratios(self, name: str) -> list[float]:
        return [median(one.steps[name].seconds) / median(one.steps[OURS].seconds) for one in self.rounds]

    def processor_seconds(self, name: str) -> float | None:
        """CPU time of a step, the median of the rounds; None if unknown."""
        known = [value for one in self.rounds if (value := one.steps[name].processor_seconds) is not None]
        return median(known) if known else None

    def processor_ratio(self, name: str) -> float | None:
        """How many times our CPU time a step takes, the median of the rounds; None if unknown."""
        pairs = [(one.steps[name].processor_seconds, one.steps[OURS].processor_seconds) for one in self.rounds]
        known = [theirs / ours for theirs, ours in pairs if theirs is not None and ours]
        return median(known) if known else None

    @property
    def step_gflops(self) -> float:
        """Counted operations per second of our step, at its median."""
        return self.step_flops / median(self.seconds(OURS)) / 1e9

    @property
    def of_matmul(self) -> float:
        return self.step_gflops / self.matmul_gflops

    def to_json(self) -> dict[str, Any]:
        summary = {
            name: {
                "median_seconds": median(self.seconds(name)),
                "ratio": self.ratio(name),
                "processor_seconds": self.processor_seconds(name),
                "processor_ratio": self.processor_ratio(name),
            }
            for name in self.names
        }
        speed = {"step_gflops": self.step_gflops, "matmul_gflops": self.matmul_gflops, "of_matmul": self.of_matmul}
        return {"summary": {**summary, **speed}, **asdict(self)}


def report(measured: Measured) -> str:
    """Markdown."""
    side, steps = measured.setting["resolution"], len(measured.rounds) * measured.setting["steps"]
    lines = [
        f"One training step at SD1.5's true size, {side}×{side}, batch 1, fp32; {steps} steps each, "
        f"in {len(measured.rounds)} rounds.",
        "",
        "| trainer | median, s | fastest … slowest, s | times ours | in each round | cores | processor time, s | times ours |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(measured, name) for name in measured.names),
        "",
        f"Our step: {measured.step_flops / 1e12:.3f} TFLOP counted, {measured.step_gflops:.0f} GFLOP/s, "
        f"{measured.of_matmul:.0%} of the {measured.matmul_gflops:.0f} GFLOP/s of a large matrix product.",
        "",
        "Machine: " + ", ".join(f"{name} {value}" for name, value in measured.machine.items()) + ".",
        f"Load average before each round: {', '.join(f'{one.load_before:.1f}' for one in measured.rounds)}.",
    ]
    return "\n".join(lines)


def _row(measured: Measured, name: str) -> str:
    seconds = measured.seconds(name)
    ratios = measured.round_ratios(name)
    cores = [one.steps[name].cores for one in measured.rounds]
    known = [value for value in cores if value is not None]
    cells = [
        name,
        f"{median(seconds):.2f}",
        f"{min(seconds):.2f} … {max(seconds):.2f}",
        f"{measured.ratio(name):.2f}",
        f"{min(ratios):.2f} … {max(ratios):.2f}",
        f"{median(known):.2f}" if known else "unknown",
        _shown(measured.processor_seconds(name)),
        _shown(measured.processor_ratio(name)),
    ]
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
