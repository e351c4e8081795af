"""Keep the catalogues of translated messages current: `make translations`.

Collects the messages of the source into the Simplified Chinese catalogue, converts it to Traditional Chinese, and compiles both.
Texts that have no translation yet are printed, and make the exit status 1.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from train_embedding.translations import DOMAIN, FOLDER

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "train_embedding"
METHODS = [
    *((f"{front_end}/**.py", "ignore") for front_end in ("api", "cli", "demo")),  # these speak English
    ("**.py", "python"),
    ("**/templates/**.html", "jinja2.ext:babel_extract"),
]
KEYWORDS: dict[str, Any] = {"msg": None, "t": None, "plural": (1, 2)}
TRANSLATED = "zh_CN"
CONVERTED = "zh_TW"
TITLE = "Train Embedding"
NOTE = "Converted from zh_CN by OpenCC (s2twp) and tools/translations.py; edit that catalogue instead."
TAIWAN = {
    "影象": "影像", "畫素": "像素", "許可權": "權限", "噪聲": "雜訊", "蒙版": "遮罩", "標籤頁": "分頁", "壓縮包": "壓縮檔",
    "型別": "類型", "例項": "實例", "名錶示": "名表示", "新增": "加入", "區域性重繪": "局部重繪",
    "不是類的": "不是類別的", "Python 包": "Python 套件", "包才能": "套件才能", "prodigyopt 包": "prodigyopt 套件",
    "高階": "進階", "倉庫": "儲存庫", "撤銷刪除": "復原刪除",
    "視訊記憶體": "顯示記憶體", "“": "「", "”": "」",
}  # fmt: skip
"Corrections of what OpenCC gets wrong in this field, in the order in which they apply, and Taiwan's quotation marks."


def path_of(language: str, suffix: str) -> Path:
    """Return the catalogue of a language: ".po" for translators, ".mo" for the program."""
    return FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}{suffix}"


def extract() -> Catalog:
    """Collect the messages of the source; each comes with the files that it is in."""
    catalog = Catalog(domain=DOMAIN, project="Train Embedding", fuzzy=False)
    found = extract_from_dir(SOURCE, METHODS, options_map={"**/templates/**.html": {"silent": "false"}}, keywords=KEYWORDS)
    for file, _line, message, _comments, _context in sorted(found, key=lambda item: (item[0], item[1])):
        catalog.add(message, locations=[(Path(file).as_posix(), 0)])
    return catalog


def read(language: str) -> Catalog:
    """Read a catalogue; an empty one where there is none yet."""
    path = path_of(language, ".po")
    if not path.exists():
        return Catalog(locale=language, domain=DOMAIN, project="Train Embedding", fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def updated(catalog: Catalog, template: Catalog) -> Catalog:
    """Return a catalogue with exactly the messages of the template, and the translations that it has of them."""
    new = _empty(catalog)
    known = {_key(message): message for message in _messages(catalog)}
    for message in _messages(template):
        before = known.get(_key(message))
        same_kind = before is not None and isinstance(before.id, str) == isinstance(message.id, str)
        new.add(message.id, before.string if before is not None and same_kind else None, locations=message.locations)
    return new


def converted(catalog: Catalog) -> Catalog:
    """Return the Traditional Chinese catalogue for the Simplified Chinese one, with Taiwan's terms."""
    from opencc import OpenCC

    opencc = OpenCC("s2twp")

    def convert(text: str) -> str:
        text = opencc.convert(text)
        for wrong, right in TAIWAN.items():
            text = text.replace(wrong, right)
        return text

    new = _empty(catalog, CONVERTED)
    new.header_comment = f"# {NOTE}"
    for message in _messages(catalog):
        forms = tuple(convert(form) for form in _forms(message))
        new.add(message.id, forms[0] if isinstance(message.id, str) else forms, locations=message.locations)
    return new


def compiled(catalog: Catalog) -> bytes:
    """Return a catalogue as a `.mo` file."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def texts(catalog: Catalog) -> dict[str, str]:
    """Return the translation of each key, empty where there is none; Chinese has one form for all counts."""
    return {_key(message): _forms(message)[0] for message in _messages(catalog)}


def webui_localization(catalog: Catalog) -> bytes:
    """Return the file with which a WebUI offers the language: the title of the tab alone, as it applies to the whole page."""
    return f"{json.dumps({TITLE: texts(catalog)[TITLE]}, ensure_ascii=False)}\n".encode()


def save(catalog: Catalog, language: str) -> None:
    """Write a catalogue and compile it; files that would stay as they are, are not touched."""
    file = io.BytesIO()
    write_po(file, catalog, width=0, include_lineno=False)
    path_of(language, ".po").parent.mkdir(parents=True, exist_ok=True)
    files = {
        path_of(language, ".po"): file.getvalue(),
        path_of(language, ".mo"): compiled(catalog),
        ROOT / "localizations" / f"{language}.json": webui_localization(catalog),
    }
    for target, content in files.items():
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)


def main() -> int:
    """Update all catalogues."""
    catalog = updated(read(TRANSLATED), extract())
    save(catalog, TRANSLATED)
    save(converted(catalog), CONVERTED)
    missing = [key for key, text in texts(catalog).items() if not text]
    for key in missing:
        print(f"Not translated: {key}", file=sys.stderr)
    return 1 if missing else 0


def _empty(catalog: Catalog, language: str = "") -> Catalog:
    """A catalogue with the dates of another, so that an update without changes changes no file."""
    new = Catalog(
        locale=language or catalog.locale, domain=DOMAIN, project="Train Embedding", version="1", msgid_bugs_address="",
        last_translator="", language_team="", fuzzy=False, creation_date=catalog.creation_date,
        revision_date=catalog.creation_date,
    )  # fmt: skip
    new.header_comment = "# The texts of Train Embedding. `make translations` updates this file."
    return new


def _messages(catalog: Catalog) -> Iterator[Message]:
    """The messages without the header."""
    return (message for message in catalog if message.id)


def _key(message: Message) -> str:
    """What `train_embedding.messages.Message.key` is: of a plural, its singular."""
    return message.id if isinstance(message.id, str) else message.id[0]


def _forms(message: Message) -> tuple[str, ...]:
    """The translation: one text, or one for each plural form; an empty text where there is none."""
    if not message.string:
        return ("",)
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)


if __name__ == "__main__":
    sys.exit(main())
