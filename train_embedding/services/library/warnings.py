"""What a person should know about an embedding beside others: names that collide, vectors that are there twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from train_embedding.embeddings.names import composed, warnings_for_name
from train_embedding.embeddings.programs import warning_for
from train_embedding.engine.prompts.words import in_vocabulary, is_one_token
from train_embedding.services.formats import UNLOADED
from train_embedding.services.library.listing import Found

NAMED = 3
"How many others a remark names; of the rest it tells the number."
_HEAD = 4
_LONGEST_TOKEN = 100


def remarks_of(found: Sequence[Found], path_of: Callable[[Found], str]) -> list[tuple[str, ...]]:
    """Sentences per file, in the order of `found`; none for files that cannot be read. path_of: what a file is called in them."""
    readable = [one for one in found if not one.content.problem]
    by_name = _groups(readable, lambda one: one.name)
    by_spelling = _groups(readable, lambda one: composed(one.name))
    by_vectors = _groups(readable, lambda one: one.content.fingerprint)
    inside, around = containing(tuple(sorted(by_name)))
    remarks: list[tuple[str, ...]] = []
    for one in found:
        sentences = [one.notes.problem] if one.notes.problem else []
        if not one.content.problem:
            name = one.name
            sentences += _of_its_file(one)
            for twins, text in (
                (by_name[name], "has the same name"),
                (by_vectors[one.content.fingerprint], "holds the same vectors"),
            ):
                sentences += [f'"{path_of(other)}" {text}.' for other in twins[: NAMED + 1] if other is not one][:NAMED]
            alike = [other for other in by_spelling[composed(name)] if other.name != name][:NAMED]
            sentences += [f'"{path_of(other)}" has the same name in another Unicode form.' for other in alike]
            if name in inside:
                sentences.append(f"Its name contains that of {_listed(inside[name])}.")
            if name in around:
                sentences.append(f"Its name is contained in that of {_listed(around[name])}.")
            if is_one_token(name):
                sentences.append(f'"{name}" is a word that the model knows; prompts that mean the word will call the embedding.')
        remarks.append(tuple(sentences))
    return remarks


def remarks_on_new(name: str, others: Iterable[str]) -> list[str]:
    """Sentences about the name of a new embedding beside others, and about programs whose prompts cannot call it."""
    elsewhere = warning_for(name, in_vocabulary)
    return [*warnings_for_name(name, others, is_one_token), *([elsewhere] if elsewhere else [])]


def why_unloaded(suffix: str) -> str:
    """Why the WebUI does not load a file of this suffix, a sentence; nothing where it does."""
    return f"The WebUI does not load {suffix} files; convert it to .pt or .safetensors." if suffix.lower() in UNLOADED else ""


def _of_its_file(one: Found) -> list[str]:
    content = one.content
    sentences = [why_unloaded(one.path.suffix)]
    if content.token:
        sentences.append(f'It was trained as "{content.token[:_LONGEST_TOKEN]}"; prompts call it by its file\'s name.')
    if content.is_half_of_sdxl:
        sentences.append(f"It has vectors for only one of SDXL's two text encoders ({next(iter(content.widths))}).")
    return [sentence for sentence in sentences if sentence]


@lru_cache(maxsize=2)
def containing(names: tuple[str, ...]) -> tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]:
    """Per name the other names that it contains, and those that it is contained in, whatever the case, which CLIP does not see.

    At each place of a name, only those names are compared that begin with the same characters, and of them one per length: the
    time grows with the number of names, not with its square.
    """
    folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folded[name.casefold()].append(name)
    short = sorted({len(key) for key in folded if len(key) < _HEAD})
    lengths: dict[str, set[int]] = defaultdict(set)
    for key in folded:
        lengths[key[:_HEAD]].add(len(key))
    inside: dict[str, list[str]] = defaultdict(list)
    around: dict[str, list[str]] = defaultdict(list)
    for key, spelled in folded.items():
        for part in _parts(key, folded, short, lengths):
            for name in spelled:
                for other in folded[part]:
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


def _groups(found: Iterable[Found], key: Callable[[Found], str]) -> dict[str, list[Found]]:
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    return groups


def _listed(names: Sequence[str]) -> str:
    """'"a", "b", "c" and 4 more'"""
    shown = ", ".join(f'"{name}"' for name in sorted(names, key=str.casefold)[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
