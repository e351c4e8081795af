"""Adds this extension's command-line flags to the WebUI's; the WebUI runs it alone, before anything else of ours."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Called by the WebUI with its own parser; the values arrive in `modules.shared.cmd_opts.train_embedding_allow`."""
    parser.add_argument(
        "--train-embedding-allow",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that Train Embedding may read training pictures from on a shared server (--share, --listen or "
        "--hide-ui-dir-config), besides the WebUI's data folder; may be given several times",
    )
