"""What differs between torch 2.1 and later releases, for tests that depend on it."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch
from torch.nn import functional as F


def _fp16_convolutions_exist() -> bool:
    try:
        F.conv2d(torch.ones(1, 1, 4, 4).half(), torch.ones(1, 1, 3, 3).half())
    except RuntimeError:  # "slow_conv2d_cpu" not implemented for 'Half', in torch 2.1
        return False
    return True


NEEDS_FP16 = pytest.mark.skipif(not _fp16_convolutions_exist(), reason="no fp16 convolutions on a CPU in this torch")


def new_zip(values: object) -> bytes:
    """What later releases than 2.5 save: with members that the WebUI does not allow."""
    data = io.BytesIO()
    torch.save(values, data)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_STORED) as archive:
        names = archive.namelist()
        root = names[0].partition("/")[0]
        for member, content in ((".format_version", "1"), (".storage_alignment", "64")):
            if f"{root}/{member}" not in names:
                archive.writestr(f"{root}/{member}", content)
    return data.getvalue()
