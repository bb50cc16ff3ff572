"""What a measured time, a peak of memory or a picture holds for: machine, kernels, code."""

from __future__ import annotations

from typing import Any

import torch

from nitrogen.kernels.cpu.library import load
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.report.provenance import machine


def where() -> dict[str, Any]:
    """JSON values: a time of one machine may not stand for another's."""
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "kernels": provider(),
        "torch": torch.__version__,
    }


def behind(data_digest: str, extract: object, module: str) -> dict[str, Any]:
    """JSON values: what pictures and what is said of them depend on, beside their models.

    module: the code that judges, by the features that `extract` makes.
    """
    return {
        "data": data_digest,
        "threads": torch.get_num_threads(),
        "kernels": provider(),
        "code": code_digests(module) | code_digests(type(extract).__module__),
        "torch": torch.__version__,
    }


def provider() -> str:
    """Which kernels run, C++ with the digest of its sources or plain PyTorch: neither their bits
    nor their times may stand for each other's."""
    return load()[1]
