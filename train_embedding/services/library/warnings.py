"""Warnings about an embedding file: names that collide, vectors that exist twice, notes that cannot be read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from train_embedding.embeddings.names import composed, folded, is_spelled_like
from train_embedding.embeddings.programs import warning_for
from train_embedding.engine.prompts.tokenizer import in_vocabulary, is_one_token
from train_embedding.services.formats import UNLOADED
from train_embedding.services.library.listing import Catalog, ListedFile

NAMED = 3
"How many other embeddings a warning names; of the rest it gives the number."
_HEAD = 4
_LONGEST_TOKEN = 100
_KEYWORDS = re.compile(r"\b(AND|BREAK)\b")

NestedNames = tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]
"For each name the names that it contains, and those that contain it."


def warnings_for_files(files: Iterable[ListedFile], catalog: Catalog) -> list[tuple[str, ...]]:
    """Return sentences about each of some files of a catalog; about its notes only, if a file cannot be read."""
    nested = names_within_names(catalog.names)
    return [_warnings_for(file, catalog, nested) for file in files]


def warnings_for_new_name(name: str, others: Iterable[str]) -> list[str]:
    """Return sentences about the name of a new embedding, given the names of others, and about programs that cannot call it."""
    names = {name, *others}
    alike = sorted(other for other in names if is_spelled_like(other, name))
    in_programs = warning_for(name, in_vocabulary)
    return [*_about_name(name, alike, names_within_names(tuple(sorted(names)))), *([in_programs] if in_programs else [])]


def why_unloaded(suffix: str) -> str:
    """Return why the WebUI does not load files of this suffix; empty if it does."""
    return f"The WebUI does not load {suffix} files; convert it to .pt or .safetensors." if suffix.lower() in UNLOADED else ""


def _warnings_for(file: ListedFile, catalog: Catalog, nested: NestedNames) -> tuple[str, ...]:
    sentences = [file.notes.problem] if file.notes.problem else []
    if file.summary.problem:
        return tuple(sentences)
    name = file.name
    same_name = catalog.by_name[name]
    sentences += _about_content(file)
    sentences += _about_others(file, same_name, "has the same name")
    sentences += _about_others(file, catalog.by_vectors[file.summary.fingerprint], "holds the same vectors")
    alike = [other.relative_path for other in catalog.by_spelling[composed(name)] if other.name != name]
    return (*sentences, *_about_name(name, alike, nested))


def _about_name(name: str, alike: Sequence[str], nested: NestedNames) -> list[str]:
    """Return sentences about a name next to others. alike: what has the same name in another Unicode form."""
    inside, around = ([other for other in names.get(name, ()) if not is_spelled_like(other, name)] for names in nested)
    around = [other for other in around if other not in inside]
    sentences = [
        f'"{other}" has the same name in another Unicode form; prompts cannot tell the two apart.' for other in alike[:NAMED]
    ]
    if inside:
        sentences.append(f"Its name contains that of {_listed(inside)}.")
    if around:
        sentences.append(f"Its name is contained in that of {_listed(around)}.")
    if is_one_token(name):
        sentences.append(f'"{name}" is a word that the model knows; prompts that mean the word will call the embedding.')
    if keyword := _KEYWORDS.search(name):
        sentences.append(f'The WebUI reads {keyword[0]} in a prompt as its own keyword, so "{name}" may never be found.')
    return sentences


def _about_content(file: ListedFile) -> list[str]:
    summary = file.summary
    sentences = [why_unloaded(file.path.suffix)] if file.path.suffix.lower() in UNLOADED else []
    if summary.token:
        sentences.append(f'It was trained as "{summary.token[:_LONGEST_TOKEN]}"; prompts call it by its file\'s name.')
    if summary.family == "SDXL" and len(summary.widths) == 1:
        sentences.append(f"It has vectors for only one of SDXL's two text encoders ({next(iter(summary.widths))}).")
    return sentences


def _about_others(file: ListedFile, others: Sequence[ListedFile], text: str) -> list[str]:
    return [f'"{other.relative_path}" {text}.' for other in others[: NAMED + 1] if other is not file][:NAMED]


@lru_cache(maxsize=2)
def names_within_names(names: tuple[str, ...]) -> NestedNames:
    """Return for each name the other names that it contains, and those that contain it.

    Case and Unicode form are ignored, as CLIP does.

    At each position of a name, only names that begin with the same characters are compared, one for each length, so the time
    grows with the number of names and not with its square.
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_key[folded(name)].append(name)
    short = sorted({len(key) for key in by_key if len(key) < _HEAD})
    lengths: dict[str, set[int]] = defaultdict(set)
    for key in by_key:
        lengths[key[:_HEAD]].add(len(key))
    inside: dict[str, list[str]] = defaultdict(list)
    around: dict[str, list[str]] = defaultdict(list)
    for key, spelled in by_key.items():
        for part in _parts(key, by_key, short, lengths):
            for name in spelled:
                for other in by_key[part]:
                    if other != name:
                        inside[name].append(other)
                        around[other].append(name)
    return dict(inside), dict(around)


def _parts(key: str, names: Mapping[str, object], short: Sequence[int], lengths: Mapping[str, set[int]]) -> set[str]:
    """Those of the names that stand in `key`, itself among them. lengths: of all names that begin with given characters."""
    found = {part for size in short for start in range(len(key) - size + 1) if (part := key[start : start + size]) in names}
    for start in range(len(key) - _HEAD + 1):
        for length in lengths.get(key[start : start + _HEAD], ()):
            part = key[start : start + length]
            if part in names:
                found.add(part)
    return found


def _listed(names: Sequence[str]) -> str:
    """'"a", "b", "c" and 4 more'"""
    shown = ", ".join(f'"{name}"' for name in sorted(names, key=str.casefold)[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
