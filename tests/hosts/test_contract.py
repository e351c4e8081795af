"""Every host keeps the contract: the one for tests, the standalone one, and those of the running programs that WEBUI_URL names.

WEBUI_URL: one address or several, with spaces between them, of programs that have the extension of tests/webui (`python -m
tests.webui.maker FOLDER`) and a checkpoint loaded or chosen. Each check then runs in the program's own process.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.checkpoints import model, tiny_checkpoint
from tests.hosts.contract import CONTRACT
from train_embedding.hosts.base import Host
from train_embedding.hosts.standalone import StandaloneHost
from train_embedding.testing import FakeHost

__all__ = ["tiny_checkpoint"]

ADDRESSES = os.environ.get("WEBUI_URL", "").split()
TIMEOUT = 1200


def check_over_http(address: str, name: str) -> None:
    request = urllib.request.Request(f"{address.rstrip('/')}/te-test/contract/{name}", b"", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        pytest.skip("needs the extension that tests/webui/maker.py puts into the WebUI")
    assert not answer["failed"], answer["failed"]


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("kind", ["fake", "standalone", *(pytest.param(url, marks=pytest.mark.webui) for url in ADDRESSES)])
def test_the_contract(kind: str, name: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    if kind not in ("fake", "standalone"):
        check_over_http(kind, name)
        return
    host: Host = StandaloneHost(tmp_path, tiny_checkpoint)
    if kind == "fake":
        host = FakeHost(tmp_path, widths=model().widths, model=model())
    CONTRACT[name](host)
