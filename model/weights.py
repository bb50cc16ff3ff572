"""Weights as safetensors: flat names, one file, never a pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nitrogen.model.errors import WeightsError


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    durable: bool = True,
) -> None:
    """Writes a safetensors file atomically; floating tensors become `dtype` if given.

    durable: wait until the disk has it; not needed in a temporary folder that is copied on.
    """
    ready = {
        name: value.detach().to(dtype if dtype and value.is_floating_point() else value.dtype)
        .contiguous().clone()
        for name, value in tensors.items()
    }  # fmt: skip
    temporary = path.with_name(path.name + ".partial")
    save_file(ready, temporary)
    if durable:
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
    temporary.replace(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises WeightsError when it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise WeightsError(
            f"weights must exist, got no file {path}. Train or restore them."
        ) from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise WeightsError(
            f"weights must be a safetensors file, got {path} ({error}). Restore the file."
        ) from None


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copies `prefix + name` tensors into the module's parameters, converting their dtype.

    Raises WeightsError naming the first tensor that is missing or of another shape.
    """
    for name, value in module.state_dict().items():
        stored = tensors.get(prefix + name)
        if stored is None or stored.shape != value.shape:
            got = "nothing" if stored is None else f"shape {list(stored.shape)}"
            raise WeightsError(
                f"weights.{prefix}{name} must have shape {list(value.shape)}, got {got}. "
                "Use the configuration that the weights were trained with."
            )
        value.copy_(stored)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}
