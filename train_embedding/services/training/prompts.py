"""The prompts of a run, read before it begins, and what of them is left out."""

from __future__ import annotations

from collections.abc import Iterable

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import InvalidInput


def check_prompts(spec: TrainingSpec, extra_networks: bool) -> list[str]:
    """Read every prompt of a run as it will be read later.

    Args:
        spec: What is to be trained.
        extra_networks: Whether the host's own images follow `<lora:…>`.

    Returns:
        Sentences about what is left out.

    Raises:
        InvalidInput: A prompt cannot be read, or the prompt to distil is more than one text.
    """
    from train_embedding.engine.prompts.prompt_editing import schedule_negative_prompt, schedule_prompt, single_text

    notes: list[str] = []
    if spec.distills:
        _read("prompt to distil", spec.teacher_prompt, [single_text(spec.teacher_prompt)])
        notes.append(describe_ignored_networks("prompt to distil", spec.teacher_prompt))
    for line in spec.template:
        _read("caption template", line, [line])
    for prompt in spec.preview_prompts() if spec.preview_every else ():
        _read("preview prompt", prompt, [text for part in schedule_prompt(prompt, spec.preview_steps) for text in part.texts])
        notes.append("" if extra_networks else describe_ignored_networks("preview prompt", prompt))
    if spec.preview_every:
        negative = spec.preview_negative_prompt
        _read("negative preview prompt", negative, schedule_negative_prompt(negative, spec.preview_steps).texts)
    return [note for note in notes if note]


def describe_ignored_networks(what: str, prompt: str) -> str:
    """Describe which extra networks, such as `<lora:…>`, a prompt names that are not applied to it.

    Args:
        what: What the prompt is for, such as "preview prompt".
        prompt: As it was typed, with comments.

    Returns:
        A sentence; empty where the prompt names none.
    """
    from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments

    networks = extract_networks(remove_comments(prompt))[1]
    return f"Left out of the {what}, since only the WebUI applies them: {', '.join(networks)}." if networks else ""


def _read(what: str, prompt: str, texts: Iterable[str]) -> None:

    from train_embedding.engine.prompts.attention_syntax import parse_attention

    try:
        for text in texts:
            parse_attention(text)
    except InvalidInput as error:
        raise InvalidInput(f'The {what} "{prompt}" cannot be read: {error.message}', error.hint) from error
