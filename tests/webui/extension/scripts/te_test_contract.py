# pyright: reportMissingImports=false
"""In a WebUI, for tests/hosts: the checks of tests/hosts/contract.py, over the host of this process, and its versions."""

import importlib.metadata
import importlib.util
import platform
import threading
import traceback
from pathlib import Path

from modules import script_callbacks, shared


def contract():
    """The file as it is now, from the checkout that Train Embedding runs from."""
    import train_embedding

    file = Path(train_embedding.__file__).parents[1] / "tests" / "hosts" / "contract.py"
    spec = importlib.util.spec_from_file_location("te_test_contract_checks", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CONTRACT


def check(name: str):
    """In a thread of its own, as runs work in."""
    from train_embedding.hosts.detect import detect

    shared.opts.data["show_progress_type"] = "Approx cheap"  # what it is set to at first would download a network
    failed: list[str] = []

    def run():
        try:
            contract()[name](detect())
        except Exception:  # noqa: BLE001 whatever it is, the test is to tell it
            failed.append(traceback.format_exc())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return {"failed": "".join(failed)}


def facts():
    """The program, its versions and its checkpoint, for the reports of tests/webui/report.py."""
    from train_embedding.embeddings.text_encoders import family_of
    from train_embedding.hosts.detect import detect

    info = detect().info()
    packages = {name: importlib.metadata.version(name) for name in ("torch", "gradio")}
    return {
        "program": info.name,
        "device": info.device,
        "checkpoint": info.checkpoint_name,
        "family": family_of(info.widths) if info.widths else "",
        "versions": {"python": platform.python_version(), **packages},
    }


def reload_embeddings():
    """After files were taken away behind the program's back; Forge's own route for it leaves out two of its lists."""
    from train_embedding.hosts.detect import detect

    detect().reload_embeddings()


def on_app_started(_demo, app):
    app.add_api_route("/te-test/facts", facts, methods=["GET"])
    app.add_api_route("/te-test/reload", reload_embeddings, methods=["POST"])
    app.add_api_route("/te-test/contract/{name}", check, methods=["POST"])


script_callbacks.on_app_started(on_app_started)
