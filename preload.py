"""Adds a command-line option to the WebUI, which runs this file before all other files of the extension."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the option to the WebUI's parser; its values are in `modules.shared.cmd_opts.train_embedding_allow`."""
    parser.add_argument(
        "--train-embedding-allow",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder besides the WebUI's data folder that may contain training images for Train Embedding on a shared server "
        "(--share, --listen or --hide-ui-dir-config); may be given several times",
    )
