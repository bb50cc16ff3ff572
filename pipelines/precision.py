"""The device and the precision of a computation: autocast, and a device that is really there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nitrogen.platform.errors import ConfigError

if TYPE_CHECKING:
    import torch


def autocast(device: str, precision: str) -> torch.autocast:
    """A context in which GEMMs run in `precision`, fp32 or bf16, on `device` (cpu, cuda, cuda:1).

    Weights, sums of residuals and what a sampler carries stay in fp32.
    """
    import torch

    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")


def check_device(device: str) -> str:
    """The device itself. Raises ConfigError when this process has no such device."""
    import torch

    if device.split(":")[0] == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU is seen"
        raise ConfigError(
            f"executor.device must be a device of this machine, got {device} ({why}). "
            "Set executor.device: cpu, or run on a machine with a GPU."
        )
    return device


def has_int8() -> bool:
    """Whether this torch multiplies in int8 on the processor (FBGEMM, oneDNN or QNNPACK)."""
    import torch

    return any(engine != "none" for engine in torch.backends.quantized.supported_engines)
