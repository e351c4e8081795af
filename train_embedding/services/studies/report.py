"""The report of a study: one HTML file without scripts, which contains all of its images and curves.

Everything that comes from the study, such as names, prompts and error messages, is escaped.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import InvalidSpec
from train_embedding.services.json_values import to_json
from train_embedding.services.studies.results import REPORT_FILE, TABLE_FILE, Results, RunProgress
from train_embedding.services.training.history import changed_options

THUMBNAIL = 256
"Longest side of an image in the report, in pixels."
MAX_IMAGE = 2**25
"Largest size of an image file that is shown, in bytes."
_WIDTH, _HEIGHT = 260, 110
"Size of a curve in the units of its SVG."

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --dim: #888; --loss: #8889; --score: #d9480f; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; } .scroll { overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.recipe { min-width: 9rem; } .recipe small { font-weight: normal; }
.cell { min-width: 270px; } .cell img { width: 128px; height: 128px; object-fit: contain; image-rendering: auto; margin: 1px; }
.small img { image-rendering: pixelated; }
.dim { color: var(--dim); } .failed { color: #e03131; font-weight: 600; }
svg { display: block; } svg .frame { fill: none; stroke: var(--line); } svg .loss { fill: none; stroke: var(--loss); }
svg .score { fill: none; stroke: var(--score); stroke-width: 1.8; } svg text { font-size: 10px; fill: var(--dim); }
details { margin: .4rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
"""


def write_report(results: Results, progress: Sequence[RunProgress], facts: Mapping[str, object]) -> str:
    """Write the report and the same facts as JSON; return the path or address of the report.

    Args:
        results: The results of the study.
        progress: What each run has come to.
        facts: What is said about the study as a whole, by label.

    Raises:
        StorageFailed: A file cannot be written.
    """
    table = {"name": results.study.name, **facts, "runs": [each.to_json() for each in progress]}
    results.write(TABLE_FILE, json.dumps(to_json(table), ensure_ascii=False, indent=1).encode("utf-8", "replace"))
    page = "".join(_page(results, progress, facts))
    results.write(REPORT_FILE, page.encode("utf-8", "replace"))
    return results.place(REPORT_FILE)


def _page(results: Results, progress: Sequence[RunProgress], facts: Mapping[str, object]) -> Iterable[str]:
    title = _text(results.study.name)
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    counts = {status: sum(each.status == status for each in progress) for status in dict.fromkeys(p.status for p in progress)}
    shown = {"Runs": len(progress), **{status.capitalize(): number for status, number in counts.items()}, **facts}
    yield f"<p>{' · '.join(f'{_text(label)}: <b>{_text(value)}</b>' for label, value in shown.items())}</p>\n"
    yield (
        "<p class=dim>Grey: training loss, the mean of each stretch of steps. Orange: evaluation loss on fixed noise, divided by "
        "that of the start. Lower is better.</p>\n"
    )
    for name in dict.fromkeys(each.run.embedding for each in progress):
        yield from _subject(results, name, [each for each in progress if each.run.embedding == name])
    yield "<h2>Settings of each run</h2>\n"
    for each in progress:
        yield from _settings(each)
    yield "</body></html>\n"


def _subject(results: Results, name: str, progress: Sequence[RunProgress]) -> Iterable[str]:
    """The grid of an embedding: a row per recipe and init text, a column per seed."""
    seeds = sorted({each.run.seed for each in progress})
    top = max((loss for each in progress if each.state for _, loss in each.state.losses), default=0.0)
    rows: dict[tuple[str, str, str, str], dict[int, list[RunProgress]]] = {}
    for each in progress:
        run = each.run
        key = (run.recipe, run.init_text, str(run.vectors), Path(run.checkpoint).stem)
        rows.setdefault(key, {}).setdefault(run.seed, []).append(each)
    yield f"<h2>{_text(name)}</h2>\n<div class=scroll><table><tr><th>Recipe</th>"
    yield "".join(f"<th>Seed {_text(seed)}</th>" for seed in seeds) + "</tr>\n"
    for (recipe, init_text, vectors, checkpoint), cells in rows.items():
        about = [f"init text: {init_text}" if init_text else "no init text", f"vectors: {vectors}", checkpoint]
        facts = "<br>".join(_text(part) for part in about if part)
        yield f"<tr><th class=recipe>{_text(recipe)}<br><small class=dim>{facts}</small></th>"
        for seed in seeds:
            yield "<td class=cell>" + "".join(_cell(results, each, top) for each in cells.get(seed, [])) + "</td>"
        yield "</tr>\n"
    yield "</table></div>\n"


def _cell(results: Results, each: RunProgress, top: float) -> str:
    run = each.run
    images = [_image(results.run_folder(run), name) for name in (each.result.images if each.result else ())]
    parts = [f"<div>{''.join(images)}</div>" if images else "", _curve(each, top)]
    parts.append(f'<a href="#{_text(run.id)}">{_text(run.id)}</a> <span class="{_text(each.status)}">{_text(each.status)}</span>')
    if each.error:
        parts.append(f"<div class=failed>{_text(each.error)}</div>")
    return "".join(parts)


def _image(folder: Path, name: str) -> str:
    """An image as part of the page, reduced to a thumbnail; a sentence for one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read_regular_file(folder / name, MAX_IMAGE)), formats=("PNG",)) as opened:
            small, image = max(opened.size) <= THUMBNAIL // 2, opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return f"<span class=dim>{_text(name)} cannot be read</span>"
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data, kind = io.BytesIO(), "PNG" if small else "JPEG"
    image.save(data, kind, quality=85)
    source = f"data:image/{kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
    return f'<span class="{"small" if small else "large"}"><img alt="" src="{source}"></span>'


def _curve(each: RunProgress, top: float) -> str:
    """The losses and the evaluations of a run as SVG. Losses reach from 0 to `top`, evaluations from 0 to 1 or their highest."""
    state = each.state
    if state is None or not state.losses:
        return ""
    steps = max(state.steps, 1)
    highest = max((1.0, *(score for _, score, _ in state.evaluations)))
    losses = [(step, loss / top if top else 0.0) for step, loss in state.losses]
    scores = [(step, score / highest) for step, score, _ in state.evaluations]
    lines = f'<polyline class=loss points="{_points(losses, steps)}"/><polyline class=score points="{_points(scores, steps)}"/>'
    last = f"{state.evaluations[-1][1]:.3f}" if state.evaluations else f"{losses[-1][1] * top:.4f}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Loss of {_text(each.run.id)}">'
        f'<rect class=frame x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}"/>{lines}'
        f'<text x="6" y="{_HEIGHT - 6}">step 0 to {steps}</text>'
        f'<text x="{_WIDTH - 6}" y="14" text-anchor="end">last {_text(last)}</text></svg>'
    )


def _points(points: Iterable[tuple[int, float]], steps: int) -> str:
    finite = ((step, min(max(height, 0.0), 1.0)) for step, height in points if height == height)
    return " ".join(
        f"{4 + step / steps * (_WIDTH - 8):.1f},{_HEIGHT - 4 - height * (_HEIGHT - 8):.1f}" for step, height in finite
    )


def _settings(each: RunProgress) -> Iterable[str]:
    run, state, result = each.run, each.state, each.result
    facts: dict[str, Any] = {
        "Dataset": run.dataset,
        "Init text": run.init_text,
        "Vectors": run.vectors,
        "Checkpoint": Path(run.checkpoint).name or "demo checkpoint",
        "Preset": run.options.get("preset", "Fast"),
        "Seed": run.seed,
    }
    facts |= _changed(each)
    if state is not None:
        facts |= {"Steps": f"{state.step} of {state.steps}", "Seconds of training": round(state.seconds, 1)}
        facts |= {f"Note {number}": note for number, note in enumerate(state.notes, 1)}
    if result is not None:
        facts |= {"Evaluation loss / start": result.evaluation, "SHA-256 of the vectors": result.vectors_sha256}
        facts |= {"Ended by": result.worker, "Times continued": result.resumed}
    rows = "".join(
        f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts.items() if value not in (None, "")
    )
    status = f'<span class="{_text(each.status)}">{_text(each.status)}</span>'
    yield f'<details id="{_text(run.id)}"><summary>{_text(run.id)} — {_text(run.recipe)} — {status}</summary>'
    yield f"<table>{rows}</table></details>\n"


def _changed(each: RunProgress) -> dict[str, Any]:
    """The options that differ from those of the preset, as lines of text where they have several."""
    try:
        changed = changed_options(each.run.spec())
    except InvalidSpec:  # a plan that was written by another version
        changed = dict(each.run.options)
    hidden = ("seed", "cache_latents_to_disk")
    if "template" in changed:
        changed["template"] = "\n".join(map(str, changed["template"]))
    return {name: value for name, value in changed.items() if name not in hidden}


def _text(value: object) -> str:
    """Escape a value for HTML, in text and in attributes."""
    return escape(str(value), quote=True)
