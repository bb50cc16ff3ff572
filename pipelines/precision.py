"""The device and the precision of a computation: autocast, and a device that is really there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nitrogen.platform.errors import ConfigError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16")  # of pictures


def autocast(device: str, precision: str) -> torch.autocast:
    """A context in which GEMMs run in `precision`, fp32 or bf16, on `device` (cpu, cuda, cuda:1).

    Weights, sums of residuals and what a sampler carries stay in fp32. On the CPU bf16 runs in
    plain PyTorch, for the C++ kernels are in fp32.
    """
    import torch

    return torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16")


def slower_in(device: str, precision: str) -> str | None:
    """What to tell whoever asks for bf16 on a processor that emulates it, else None."""
    from nitrogen.pipelines.executor import has_bf16_units

    if precision != "bf16" or device.split(":")[0] != "cpu" or has_bf16_units():
        return None
    return (
        "bf16 takes many times as long as fp32 on this processor, which has no units for it "
        "(avx512_bf16, amx_bf16). Leave it out, or use it to look at quality alone."
    )


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
