"""What a measured time or peak of memory holds for: the machine, its threads, the kernels."""

from __future__ import annotations

from typing import Any

import torch

from nitrogen.kernels.cpu.library import load
from nitrogen.pipelines.report.provenance import machine


def where() -> dict[str, Any]:
    """JSON values: a time of one machine may not stand for another's."""
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "kernels": provider(),
        "torch": torch.__version__,
    }


def provider() -> str:
    """Which kernels run, C++ with the digest of its sources or plain PyTorch: neither their bits
    nor their times may stand for each other's."""
    return load()[1]
