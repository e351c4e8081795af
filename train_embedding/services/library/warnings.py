"""Warnings about embedding files: names that collide, duplicate vectors, notes that cannot be read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from train_embedding.embeddings.names import composed, folded, is_spelled_like
from train_embedding.embeddings.programs import warning_for
from train_embedding.engine.prompts.tokenizer import in_vocabulary, is_one_token
from train_embedding.messages import NOTHING, Message, joined, msg
from train_embedding.services.formats import UNLOADED
from train_embedding.services.library.listing import Catalog, ListedFile

MAX_NAMED = 3
"Number of other embeddings that a warning names."
_HEAD = 4
"Number of first characters by which names are grouped."
_LONGEST_TOKEN = 100
_KEYWORDS = re.compile(r"\b(AND|BREAK)\b")

NestedNames = tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]
"For each name, the names that it contains, and the names that contain it."


def warnings_for_files(files: Iterable[ListedFile], catalog: Catalog) -> list[tuple[Message, ...]]:
    """Return the warnings for some files of a catalog. Files that cannot be read have only warnings about their notes."""
    nested = names_within_names(catalog.names)
    return [_warnings_for(file, catalog, nested) for file in files]


def warnings_for_new_name(name: str, others: Iterable[str]) -> list[Message]:
    """Return the warnings for the name of a new embedding.

    Args:
        name: The name.
        others: The names of other embeddings.
    """
    names = {name, *others}
    alike = sorted(other for other in names if is_spelled_like(other, name))
    in_programs = warning_for(name, in_vocabulary)
    return [*_about_name(name, alike, names_within_names(tuple(sorted(names)))), *([in_programs] if in_programs else [])]


def why_unloaded(suffix: str) -> Message:
    """Return why the WebUI does not load files with this suffix; empty if it does."""
    if suffix.lower() not in UNLOADED:
        return NOTHING
    return msg("The WebUI does not load {suffix} files. Convert it to .pt or .safetensors.", suffix=suffix)


def _warnings_for(file: ListedFile, catalog: Catalog, nested: NestedNames) -> tuple[Message, ...]:
    sentences = [file.notes.problem] if file.notes.problem else []
    if file.summary.problem:
        return tuple(sentences)
    name = file.name
    same_name = catalog.by_name[name]
    sentences += _about_content(file)
    same_vectors = catalog.by_vectors[file.summary.fingerprint]
    sentences += [msg('"{path}" has the same name.', path=path) for path in _other_paths(file, same_name)]
    sentences += [msg('"{path}" has the same vectors.', path=path) for path in _other_paths(file, same_vectors)]
    alike = [other.relative_path for other in catalog.by_spelling[composed(name)] if other.name != name]
    return (*sentences, *_about_name(name, alike, nested))


def _about_name(name: str, alike: Sequence[str], nested: NestedNames) -> list[Message]:
    """Return the warnings for a name among others.

    Args:
        name: The name.
        alike: Paths or names of embeddings with the same name in another Unicode form.
        nested: The names within names.
    """
    inside, around = ([other for other in names.get(name, ()) if not is_spelled_like(other, name)] for names in nested)
    around = [other for other in around if other not in inside]
    sentences = [
        msg('"{other}" has the same name in another Unicode form; prompts cannot distinguish the two.', other=other)
        for other in alike[:MAX_NAMED]
    ]
    if inside:
        sentences.append(msg("Its name contains the name of {others}.", others=_listed(inside)))
    if around:
        sentences.append(msg("Its name is part of the name of {others}.", others=_listed(around)))
    if is_one_token(name):
        sentences.append(
            msg(
                '"{name}" is a common word: every prompt that contains it triggers the embedding. A rarer name is safer.',
                name=name,
            )
        )
    if keyword := _KEYWORDS.search(name):
        sentences.append(
            msg('{keyword} is a keyword in prompts of the WebUI, so "{name}" may not work.', keyword=keyword[0], name=name)
        )
    return sentences


def _about_content(file: ListedFile) -> list[Message]:
    summary = file.summary
    sentences = [why_unloaded(file.path.suffix)] if file.path.suffix.lower() in UNLOADED else []
    if summary.token:
        token = summary.token[:_LONGEST_TOKEN]
        sentences.append(
            msg('It was trained with the trigger word "{token}", but its file name is the trigger word here.', token=token)
        )
    if summary.family == "SDXL" and len(summary.widths) == 1:
        (encoder,) = summary.widths
        sentences.append(msg("It has vectors for only one of SDXL's two text encoders ({encoder}).", encoder=encoder))
    return sentences


def _other_paths(file: ListedFile, others: Sequence[ListedFile]) -> list[str]:
    """Return the paths of the first few files besides `file`."""
    return [other.relative_path for other in others[: MAX_NAMED + 1] if other is not file][:MAX_NAMED]


@lru_cache(maxsize=2)
def names_within_names(names: tuple[str, ...]) -> NestedNames:
    """Return for each name the other names that it contains, and the names that contain it.

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
    """Return the names that `key` contains, including itself.

    Args:
        key: A folded name.
        names: All folded names.
        short: The lengths of names shorter than `_HEAD`.
        lengths: The lengths of longer names, by their first `_HEAD` characters.
    """
    found = {part for size in short for start in range(len(key) - size + 1) if (part := key[start : start + size]) in names}
    for start in range(len(key) - _HEAD + 1):
        for length in lengths.get(key[start : start + _HEAD], ()):
            part = key[start : start + length]
            if part in names:
                found.add(part)
    return found


def _listed(names: Sequence[str]) -> Message:
    """List names, such as '"a", "b", "c" and 4 more'."""
    shown = joined(msg('"{name}"', name=name) for name in sorted(names, key=str.casefold)[:MAX_NAMED])
    more = len(names) - MAX_NAMED
    return msg("{names} and {more} more", names=shown, more=more) if more > 0 else shown
