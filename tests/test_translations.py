"""Which language is shown, and how messages are put into it."""

from __future__ import annotations

import gettext
from collections.abc import Iterator

import pytest

from train_embedding import translations
from train_embedding.messages import DOT, SPACE, joined, msg, plural, verbatim
from train_embedding.translations import bind, closest_language, in_language, preferred_language, t, translate

GERMAN = {
    "{name} is already taken.": "{name} ist schon vergeben.",
    "Not saved: {problem}": "Nicht gespeichert: {problem}",
    "Steps": "Schritte",
}


class German(gettext.NullTranslations):
    """A catalogue of three sentences and a plural."""

    def gettext(self, message: str) -> str:
        return GERMAN.get(message, message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return "{count} Bild" if n == 1 else "{count} Bilder"


@pytest.fixture(autouse=True)
def german(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The language zh_CN, with German texts."""
    monkeypatch.setattr(translations, "_catalogue", lambda language: German())
    with in_language("zh_CN"):
        yield


def test_values_that_are_messages_are_translated_too() -> None:
    problem = msg("{name} is already taken.", name="Steps")
    assert translate(msg("Not saved: {problem}", problem=problem)) == "Nicht gespeichert: Steps ist schon vergeben."


def test_names_and_plain_text_stay() -> None:
    assert [translate(text) for text in ("Steps", verbatim("Steps"))] == ["Steps", "Steps"]
    assert translate(msg("Steps")) == "Schritte"


def test_counts_and_lists() -> None:
    parts = joined([plural("{count} image", "{count} images", 1), plural("{count} image", "{count} images", 8)], DOT)
    assert translate(parts) == "1 Bild · 8 Bilder"


def test_sentences_follow_each_other_directly() -> None:
    sentences = joined([msg("Steps"), verbatim("。")], SPACE)
    assert (str(sentences), translate(sentences)) == ("Steps 。", "Schritte。")


def test_the_current_language() -> None:
    assert t("Steps") == "Schritte"
    with in_language("en"):
        assert t("Steps") == "Steps"
    assert bind(lambda: t("Steps"), "en")() == "Steps"
    assert t("Not translated {number}", number=3) == "Not translated 3"


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("zh_CN", "zh_CN"),
        ("zh-Hans (Stable)", "zh_CN"),
        ("zh-Hans (Testing)", "zh_CN"),
        ("zh", "zh_CN"),
        ("chinese-all-0313", "zh_CN"),
        ("chinese-english-0313", "zh_CN"),
        ("简体中文", "zh_CN"),
        ("zh_TW", "zh_TW"),
        ("zh-Hant (Stable)", "zh_TW"),
        ("zh-HK", "zh_TW"),
        ("繁體中文", "zh_TW"),
        ("ja_JP", "en"),
        ("None", "en"),
        ("", "en"),
        ("lzh", "en"),
    ],
)
def test_names_of_languages(name: str, language: str) -> None:
    assert closest_language(name) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        ("en-US,en;q=0.9,zh-CN;q=0.8", "en"),
        ("en;q=0.1, zh-TW;q=0.5", "zh_TW"),
        ("de-DE,de;q=0.9,zh;q=0.5", "en"),
        ("zh;q=0", "en"),
        ("zh;q=1.2.3, en", "en"),
        ("", "en"),
    ],
)
def test_the_language_that_a_browser_prefers(header: str, language: str) -> None:
    assert preferred_language(header) == language
