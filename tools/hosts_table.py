"""Make the table of programs and features in the READMEs from the reports in docs/hosts: `make hosts-table`.

tests/webui/report.py writes the reports. A program without a report was not run with this version.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "docs" / "hosts"
HOSTS = {
    "a1111": "AUTOMATIC1111 WebUI",
    "sdnext": "SD.Next",
    "forge": "Forge",
    "reforge": "reForge",
    "forge-neo": "Forge Neo",
    "forge-classic": "Forge Classic",
}
"The names of the programs, by the name of their report."
PLACE = re.compile(r"(<!-- hosts-table -->\n).*?(<!-- end of hosts-table -->)", re.DOTALL)
NONE = "–"

Report = dict[str, Any]


@dataclass(frozen=True)
class Feature:
    """A row of the table."""

    english: str
    chinese: str
    tests: tuple[str, ...]
    "Beginnings of the names of its tests; a test belongs to the row with the longest one."


WEBUI, SDNEXT = "tests/webui/test_", "tests/webui/test_sdnext.py::test_"
FEATURES = (
    Feature("Tab, queue and model (host contract)", "标签页、队列和模型（宿主约定）", ("tests/hosts/test_contract.py",)),
    Feature(
        "The same outputs; all weights are shared", "输出一致；权重全部共享",
        (f"{WEBUI}families.py::test_the_numbers", f"{WEBUI}families.py::test_every_weight"),
    ),
    Feature("Create", "创建", (f"{WEBUI}create.py", f"{WEBUI}families.py")),
    Feature("Train, stop, progress, previews", "训练、停止、进度、预览图", (f"{WEBUI}train.py", f"{SDNEXT}images_of_the_api")),
    Feature(
        "Images are bit-identical after training", "训练后的图像逐位相同",
        (f"{WEBUI}train.py::test_pictures_without", f"{WEBUI}families.py::test_a_run_trains", f"{SDNEXT}training_changes"),
    ),
    Feature("Resume", "继续训练", (f"{WEBUI}resume.py",)),
    Feature("Cards and double-click", "卡片与双击", (f"{WEBUI}cards.py", f"{SDNEXT}the_card")),
    Feature("File formats", "文件格式", (f"{WEBUI}formats.py", f"{SDNEXT}new_files")),
    Feature("Library, combining", "库、合并", (f"{WEBUI}library.py", f"{WEBUI}combining.py", SDNEXT)),
    Feature("Datasets, captions, Compare steps", "数据集、打标、比较步数", (f"{WEBUI}workbench.py",)),
    Feature("From dropped images to an archive for Civitai", "从拖入图像到 Civitai 发布包", (f"{WEBUI}whole_way.py",)),
    Feature("HTTP API", "HTTP API", (f"{WEBUI}api.py",)),
)  # fmt: skip
CHINESE = {
    "Version": "版本",
    "Checkpoints": "底模",
    "Date": "日期",
    "passed": "通过",
    "skipped": "跳过",
    "failed": "失败",
    "not run with this version": "此版本未运行",
    "not run": "未运行",
}


def main() -> None:
    """Write the table into both READMEs."""
    reports = read_reports()
    for file, words in readmes().items():
        file.write_text(fill_in(file.read_text("utf-8"), table(reports, words)), "utf-8")


def readmes() -> dict[Path, Mapping[str, str]]:
    """Return the files with a table, and the translations of its words."""
    return {ROOT / "README.md": {}, ROOT / "README.zh-CN.md": CHINESE}


def read_reports(folder: Path = REPORTS) -> dict[str, Report]:
    """Return the reports by the name of the program."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}


def fill_in(page: str, table: str) -> str:
    """Return a page with the table between its marks."""
    return PLACE.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", page)


def table(reports: Mapping[str, Report], words: Mapping[str, str] = {}) -> str:
    """Return the table of programs and features as Markdown.

    Args:
        reports: The reports by the name of the program.
        words: Translations of the table's words; an empty one for English.
    """

    def cells(label: str, of_report: Sequence[str]) -> str:
        return f"| {label} | " + " | ".join(of_report) + " |"

    def word(english: str) -> str:
        return words.get(english, english)

    found = [reports.get(name) for name in HOSTS]
    rows = [
        cells("", tuple(HOSTS.values())),
        cells("---", ["---"] * len(HOSTS)).replace(" ", ""),
        cells(word("Version"), [word("not run with this version") if one is None else _version(one) for one in found]),
        cells("Python, torch, gradio", [NONE if one is None else ", ".join(one["versions"].values()) for one in found]),
        cells(word("Checkpoints"), [NONE if one is None else _families(one) for one in found]),
        cells(word("Date"), [NONE if one is None else _date(one) for one in found]),
    ]
    for feature in FEATURES:
        label = feature.chinese if words else feature.english
        rows.append(cells(label, [NONE if one is None else _cell(_outcomes(one, feature), word) for one in found]))
    return "\n".join(rows)


def details(reports: Mapping[str, Report]) -> str:
    """Return a section per report as Markdown, with the reasons of all tests that failed or were skipped."""
    sections: list[str] = []
    for name, report in reports.items():
        lines = [f"## {HOSTS[name]} {_version(report)}", ""]
        for checkpoint, results in report["checkpoints"].items():
            reasons: dict[tuple[str, str], list[str]] = {}
            for test, result in results["tests"].items():
                if result["outcome"] != "passed":
                    reasons.setdefault((result["outcome"], result["reason"]), []).append(test.partition("::")[2])
            count = Counter(result["outcome"] for result in results["tests"].values())
            head = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items()))
            lines += [f"**{checkpoint}** ({results['family']}), {results['date']}: {head}", ""]
            for (outcome, reason), tests in sorted(reasons.items()):
                names = ", ".join(f"`{test}`" for test in tests)
                lines.append(f"* {outcome}: {reason} ({names})")
            lines.append("")
        sections.append("\n".join(lines))
    return "\n".join(sections)


def feature_of(test: str) -> Feature | None:
    """Return the row of a test; None for a test of the WebUI's own trainer."""
    found = [(len(start), feature) for feature in FEATURES for start in feature.tests if test.startswith(start)]
    return max(found, key=lambda one: one[0])[1] if found else None


def _outcomes(report: Report, feature: Feature) -> Counter[str]:
    return Counter(outcome for test, outcome in _results(report) if feature_of(test) is feature)


def _results(report: Report) -> Iterator[tuple[str, str]]:
    for results in report["checkpoints"].values():
        for test, result in results["tests"].items():
            yield test, result["outcome"]


def _cell(outcomes: Counter[str], word: Any) -> str:
    shown = [f"{outcomes[key]} {word(key)}" for key in ("passed", "failed", "skipped") if outcomes[key]]
    return ", ".join(shown) or word("not run")


def _version(report: Report) -> str:
    """Return the version and the commit; the commit alone of a program that has no version."""
    version, commit = report["program"].split()[-1], report["commit"]
    if not any(character.isdigit() for character in version):
        return commit
    return f"{version} ({commit})" if commit else version


def _families(report: Report) -> str:
    checkpoints = report["checkpoints"].items()  # the demo checkpoint is of no published family
    return ", ".join(dict.fromkeys(name if results["family"] == "custom" else results["family"] for name, results in checkpoints))


def _date(report: Report) -> str:
    return max(results["date"] for results in report["checkpoints"].values())


if __name__ == "__main__":
    main()
