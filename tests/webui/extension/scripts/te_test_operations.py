# pyright: reportMissingImports=false
"""In a WebUI, for tests/webui: counts the operations of its own trainer."""

from modules import script_callbacks
from modules.api.api import Api
from torch.utils.flop_counter import FlopCounterMode


def operations(arguments: dict):
    """Train with the arguments of the WebUI's route, in the thread of the request, and return what was counted."""
    with FlopCounterMode(display=False) as counter:
        answer = Api.train_embedding(None, arguments)  # it uses nothing of its object
    return {"operations": counter.get_total_flops(), "info": answer.info}


def on_app_started(_demo, app):
    app.add_api_route("/te-test/operations", operations, methods=["POST"])


script_callbacks.on_app_started(on_app_started)
