"""Checks of the prompts of a run before it begins."""

from __future__ import annotations

from collections.abc import Iterable

from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import InvalidInput
from train_embedding.messages import NOTHING, Message, joined, msg

_LABELS = {option.name: option.label for option in OPTIONS}


def check_prompts(spec: TrainingSpec, extra_networks: bool) -> list[Message]:
    """Check that every prompt of a run can be read.

    Args:
        spec: The run.
        extra_networks: Whether the host applies `<lora:…>` when it generates previews.

    Returns:
        Sentences about parts of the prompts that are ignored.

    Raises:
        InvalidInput: A prompt cannot be read, or the prompt to distil is more than one text.
    """
    from train_embedding.engine.prompts.prompt_editing import schedule_negative_prompt, schedule_prompt, single_text

    notes: list[Message] = []
    if spec.distills:
        _check("teacher_prompt", spec.teacher_prompt, [single_text(spec.teacher_prompt)])
        notes.append(describe_ignored_networks(_LABELS["teacher_prompt"], spec.teacher_prompt))
    for line in spec.template:
        _check("template", line, [line])
    for prompt in spec.preview_prompts() if spec.preview_every else ():
        texts = [text for part in schedule_prompt(prompt, spec.preview_steps) for text in part.texts]
        _check("preview_prompt", prompt, texts)
        notes.append(NOTHING if extra_networks else describe_ignored_networks(_LABELS["preview_prompt"], prompt))
    if spec.preview_every:
        negative = spec.preview_negative_prompt
        _check("preview_negative_prompt", negative, schedule_negative_prompt(negative, spec.preview_steps).texts)
    return [note for note in notes if note]


def describe_ignored_networks(field: str, prompt: str) -> Message:
    """Describe which extra networks, such as `<lora:…>`, a prompt names that are not applied to it.

    Args:
        field: The label of the prompt's field.
        prompt: The prompt as it was typed, with comments.

    Returns:
        A sentence; empty if the prompt names no extra networks.
    """
    from train_embedding.engine.prompts.attention_syntax import extract_networks, remove_comments

    networks = extract_networks(remove_comments(prompt))[1]
    if not networks:
        return NOTHING
    return msg(
        'Ignored in "{field}", because only the WebUI applies extra networks: {networks}.', field=field, networks=joined(networks)
    )


def _check(option: str, prompt: str, texts: Iterable[str]) -> None:
    """Raise InvalidInput, with the label of the prompt's option, unless the weights in all of its texts can be read."""
    from train_embedding.engine.prompts.attention_syntax import parse_attention

    try:
        for text in texts:
            parse_attention(text)
    except InvalidInput as error:
        message = msg(
            '"{prompt}" in "{option}" cannot be read. {problem}', prompt=prompt, option=_LABELS[option], problem=error.message
        )
        raise InvalidInput(message, error.hint) from error
