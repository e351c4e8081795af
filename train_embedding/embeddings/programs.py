"""Programs that load embeddings: the format that each reads, the names that its prompts can call, and how they call them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train_embedding.embeddings.format_names import FormatName
from train_embedding.errors import InvalidInput

SUFFIX = ".safetensors"
"Every program below loads it; SD.Next skips SDXL's `.pt` without a word."

IN_VOCABULARY = "in its vocabulary already"


@dataclass(frozen=True)
class Program:
    """What one program takes. Read in the programs' sources and run on their own loaders; see docs/formats.md."""

    title: str
    trigger: str
    "What calls the embedding in a prompt there, with {name}."
    format: FormatName = "safetensors"
    "Of embeddings for one text encoder; those for SDXL are clip_l and clip_g for all programs."
    callable_names: str = r".+"
    "A regular expression that the names fit which a prompt there can call."
    why_not: str = ""
    "What other names hold that a prompt there cannot call."
    lower_case: bool = False
    "Whether prompts are put into lower case before names are looked for."
    takes_words: bool = True
    "Whether a name may be an entry of CLIP's vocabulary."
    usage: str = ""
    "What to do with the file, a sentence with {file} and {trigger}."
    usage_sdxl: str = ""
    "The same for SDXL, where it differs."

    def can_call(self, name: str, in_vocabulary: Callable[[str], bool]) -> bool:
        """in_vocabulary: whether a text is an entry of CLIP's vocabulary, a word or the beginning of one."""
        return self.spells(name) and (self.takes_words or not in_vocabulary(name))

    def spells(self, name: str) -> bool:
        """Whether a prompt there can hold the name at all."""
        return re.fullmatch(self.callable_names, name) is not None and (not self.lower_case or name == name.lower())


PROGRAMS: Mapping[str, Program] = {
    "webui": Program("the WebUI", "{name}", usage="Put {file} into the folder embeddings."),
    "comfyui": Program(
        "ComfyUI", "embedding:{name}", callable_names=r"\S+", why_not="spaces",
        usage="Put {file} into the folder models/embeddings.",
    ),
    "invokeai": Program(
        "InvokeAI", "<{name}>", callable_names=r"[a-zA-Z0-9., _-]+", why_not="signs and letters beyond ASCII",
        usage="Add {file} in the model manager.",
    ),
    "sdnext": Program("SD.Next", "{name}", takes_words=False, usage="Put {file} into the folder models/embeddings."),
    "diffusers": Program(
        "diffusers", "{name}", format="diffusers", lower_case=True, why_not="capital letters", takes_words=False,
        usage='Load it with pipe.load_textual_inversion("{file}", token="{trigger}").',
        usage_sdxl='Load it with state = safetensors.torch.load_file("{file}"), then '
        'pipe.load_textual_inversion(state["clip_l"], token="{trigger}", text_encoder=pipe.text_encoder, '
        "tokenizer=pipe.tokenizer) and the same with clip_g, text_encoder_2 and tokenizer_2.",
    ),
    "onetrainer": Program(
        "OneTrainer", "<embedding>", format="onetrainer",
        usage="Choose {file} as the base embedding; the trigger is the placeholder that is set there.",
    ),
}  # fmt: skip


def program_called(key: str) -> Program:
    """Raises InvalidInput for a program that is not in the table."""
    if key not in PROGRAMS:
        raise InvalidInput(f'Exports for "{key}" are not known.', f"Use one of {', '.join(PROGRAMS)}.")
    return PROGRAMS[key]


def name_in(program: Program, name: str, in_vocabulary: Callable[[str], bool]) -> str:
    """A name like this one that the program's prompts can call; the name itself where they can.

    Spaces and signs become underscores, accents and capitals go where they must, and a word of the vocabulary gets "my-" in
    front. Raises InvalidInput where that leaves nothing.
    """
    if program.can_call(name, in_vocabulary):
        return name
    for changed in (name.lower(), re.sub(r"\s+", "_", name), _plain(name)):
        for candidate in (changed, f"my-{changed}"):
            if re.search(r"[^\W_]", changed) and program.can_call(candidate, in_vocabulary):
                return candidate
    raise InvalidInput(
        f'No prompt of {program.title} can call "{name}".', f"Name the file otherwise, in plain letters: such as my-name{SUFFIX}."
    )


def warning_for(name: str, in_vocabulary: Callable[[str], bool]) -> str:
    """One sentence about programs whose prompts cannot call the name as it is; empty where all can."""
    uncallable = [
        f"{program.title} ({IN_VOCABULARY if program.spells(name) else program.why_not})"
        for program in PROGRAMS.values()
        if not program.can_call(name, in_vocabulary)
    ]
    if not uncallable:
        return ""
    return f'"{name}" needs another name in some programs: {", ".join(uncallable)}. Exports for them are renamed.'


def _plain(name: str) -> str:
    """Letters, digits and the signs . , - of ASCII, in lower case."""
    without_accents = "".join(one for one in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(one))
    if any(one.isalnum() and not one.isascii() for one in without_accents):
        return ""  # what is left would be another name
    return re.sub(r"[^a-z0-9.,-]+", "_", without_accents).strip("_")
