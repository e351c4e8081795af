"""The script that the WebUI executes: it registers the tab and the API routes, and imports nothing heavy."""

from modules import script_callbacks

from train_embedding import webui  # here, while the WebUI keeps this extension's folder on sys.path


def on_ui_tabs():
    return [(webui.tab(), webui.title(), "train_embedding")]


def on_after_component(component, **_arguments):
    webui.take_cards(component)


def on_app_started(_demo, app):
    webui.mount_api(app)
    webui.mount_page_images(app)
    webui.work_on_queue()


script_callbacks.on_after_component(on_after_component)
script_callbacks.on_ui_tabs(on_ui_tabs)
script_callbacks.on_app_started(on_app_started)
