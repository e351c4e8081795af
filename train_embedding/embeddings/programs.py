"""Programs that load embeddings: the format, trigger words and usage of each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train_embedding.embeddings.format_names import FormatName
from train_embedding.errors import InvalidInput
from train_embedding.messages import NOTHING, Message, joined, msg, verbatim

SUFFIX = ".safetensors"
"Every program below loads it; SD.Next silently skips SDXL embeddings in `.pt` files."

IN_VOCABULARY = msg("a token of its vocabulary")

Usage = Callable[[str, str], Message]
"Says what to do with a file, given its name and the trigger word."


@dataclass(frozen=True)
class Program:
    """What a program accepts, according to its source code and tests with its own loader; see docs/formats.md."""

    title: Message
    trigger: str
    "Trigger word in its prompts, with {name} for the name of the embedding."
    usage: Usage
    usage_sdxl: Usage | None = None
    "For SDXL embeddings, if different."
    format: FormatName = "safetensors"
    "For embeddings with one text encoder; SDXL embeddings have clip_l and clip_g in every program."
    name_pattern: str = r".+"
    "A regular expression that names must match to work in its prompts."
    name_rule: Message = NOTHING
    "The same rule as a phrase."
    lower_case: bool = False
    "Whether prompts are converted to lower case before names are searched."
    allows_vocabulary: bool = True
    "Whether a name may be a token of CLIP's vocabulary."

    def accepts(self, name: str, in_vocabulary: Callable[[str], bool]) -> bool:
        """Return whether a name works as a trigger word.

        Args:
            name: The name of an embedding.
            in_vocabulary: Returns whether a text is a token of CLIP's vocabulary: a word or the beginning of a word.
        """
        return self.allows_spelling(name) and (self.allows_vocabulary or not in_vocabulary(name))

    def allows_spelling(self, name: str) -> bool:
        """Return whether the characters of a name can be used in its prompts."""
        return re.fullmatch(self.name_pattern, name) is not None and (not self.lower_case or name == name.lower())


def _use_models_folder(file: str, _trigger: str) -> Message:
    return msg('Put {file} into the folder "{folder}".', file=file, folder="models/embeddings")


def _load_in_diffusers(file: str, trigger: str) -> Message:
    return msg("Load it with {code}.", code=f'pipe.load_textual_inversion("{file}", token="{trigger}")')


def _load_sdxl_in_diffusers(file: str, trigger: str) -> Message:
    load = (
        'pipe.load_textual_inversion(state["{key}"], token="{trigger}", text_encoder=pipe.{encoder}, tokenizer=pipe.{tokenizer})'
    )
    first = load.format(key="clip_l", trigger=trigger, encoder="text_encoder", tokenizer="tokenizer")
    second = load.format(key="clip_g", trigger=trigger, encoder="text_encoder_2", tokenizer="tokenizer_2")
    return msg("Load it with {code}.", code=f'state = safetensors.torch.load_file("{file}"); {first}; {second}')


PROGRAMS: Mapping[str, Program] = {
    "webui": Program(
        verbatim("WebUI"), "{name}",
        lambda file, _trigger: msg('Put {file} into the folder "{folder}".', file=file, folder="embeddings"),
    ),
    "comfyui": Program(
        verbatim("ComfyUI"), "embedding:{name}", _use_models_folder, name_pattern=r"\S+", name_rule=msg("no spaces allowed"),
    ),
    "invokeai": Program(
        verbatim("InvokeAI"), "<{name}>",
        lambda file, _trigger: msg("Add {file} in the model manager.", file=file),
        name_pattern=r"[a-zA-Z0-9., _-]+", name_rule=msg("only ASCII letters, digits, spaces and . , _ - allowed"),
    ),
    "sdnext": Program(verbatim("SD.Next"), "{name}", _use_models_folder, allows_vocabulary=False),
    "diffusers": Program(
        verbatim("diffusers"), "{name}", _load_in_diffusers, _load_sdxl_in_diffusers, format="diffusers", lower_case=True,
        name_rule=msg("no capital letters allowed"), allows_vocabulary=False,
    ),
    "onetrainer": Program(
        verbatim("OneTrainer"), "<embedding>",
        lambda file, _trigger: msg(
            "Choose {file} as the base embedding; the trigger word is the placeholder that you set there.", file=file
        ),
        format="onetrainer",
    ),
}  # fmt: skip


def get_program(key: str) -> Program:
    """Return the program with a key of PROGRAMS.

    Raises:
        InvalidInput: There is none.
    """
    if key not in PROGRAMS:
        raise InvalidInput(msg('Unknown program "{name}".', name=key), msg("Use one of {names}.", names=joined(PROGRAMS)))
    return PROGRAMS[key]


def name_in(program: Program, name: str, in_vocabulary: Callable[[str], bool]) -> str:
    """Return a similar name that works as a trigger word in a program, or the name itself if it does.

    Spaces and symbols become underscores, accents and capital letters are replaced if necessary, and tokens of the vocabulary
    get the prefix "my-".

    Args:
        program: One of PROGRAMS.
        name: The name of an embedding.
        in_vocabulary: As `Program.accepts`.

    Raises:
        InvalidInput: No similar name was found.
    """
    if program.accepts(name, in_vocabulary):
        return name
    for changed in (name.lower(), re.sub(r"\s+", "_", name), _plain(name)):
        for candidate in (changed, f"my-{changed}"):
            if re.search(r"[^\W_]", changed) and program.accepts(candidate, in_vocabulary):
                return candidate
    raise InvalidInput(
        msg('"{name}" does not work as a trigger word in {program}.', name=name, program=program.title),
        msg("Choose another file name, such as {name}.", name=f"my-name{SUFFIX}"),
    )


def warning_for(name: str, in_vocabulary: Callable[[str], bool]) -> Message:
    """Return a warning if a name does not work as a trigger word in some programs, or nothing if it works in all.

    Args:
        name: The name of an embedding.
        in_vocabulary: As `Program.accepts`.
    """
    rejecting = [
        msg("{program} ({reason})", program=program.title, reason=_rejection(program, name))
        for program in PROGRAMS.values()
        if not program.accepts(name, in_vocabulary)
    ]
    if not rejecting:
        return NOTHING
    return msg(
        '"{name}" does not work as a trigger word in some programs: {programs}. Exports for these programs are renamed.',
        name=name,
        programs=joined(rejecting),
    )


def _rejection(program: Program, name: str) -> Message:
    return IN_VOCABULARY if program.allows_spelling(name) else program.name_rule


def _plain(name: str) -> str:
    """Reduce a name to lower-case ASCII letters, digits and . , - (others become "_"); empty if letters would be lost."""
    decomposed = unicodedata.normalize("NFKD", name.lower())
    without_accents = "".join(character for character in decomposed if not unicodedata.combining(character))
    if any(character.isalnum() and not character.isascii() for character in without_accents):
        return ""
    return re.sub(r"[^a-z0-9.,-]+", "_", without_accents).strip("_")
