"""How a kernel is started: its configuration by GPU family, its arguments, or a record of both.

An operator calls `launch`, which starts the kernel, or, inside `recording`, only notes what it
would start. The compiler of `kernels.aot` and the tests get signatures that way, from the same
code that runs on a GPU.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

INTERPRETER = "interpreter"
FAMILIES = ("sm_80", "sm_89", "sm_90", "sm_100", "gfx90a", "gfx942", "gfx1100")


@dataclass(frozen=True)
class Config:
    """Block sizes of one kernel (its constexpr parameters) and how it is compiled."""

    blocks: dict[str, int]
    num_warps: int = 4
    num_stages: int = 1  # copies of a loop's tiles in flight

    @property
    def name(self) -> str:
        """Blocks, warps and stages in short: m64 n128 k32 w4 s2."""
        blocks = [f"{n.removeprefix('BLOCK_').lower()}{v}" for n, v in self.blocks.items()]
        return " ".join([*blocks, f"w{self.num_warps}", f"s{self.num_stages}"])

    @property
    def options(self) -> dict[str, Any]:
        """What the compiler is told. Contraction is said aloud: Triton 3.10 changes the default,
        and a row's bits with it."""
        stages = {"num_warps": self.num_warps, "num_stages": self.num_stages}
        return {**stages, "enable_fp_fusion": True}


@dataclass(frozen=True)
class Launch:
    """One start of a kernel. arguments: by parameter name, constexpr ones included."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    config: Config


@dataclass(frozen=True)
class Scope:
    """What a `with` block asks of the launches inside it."""

    family: str | None = None
    configs: dict[str, Config] = field(default_factory=dict)  # by operator, instead of the table's
    record: list[Launch] | None = None
    asked: dict[str, int] | None = None  # is told the operators looked up, and their channels


_SCOPE: ContextVar[Scope] = ContextVar("scope", default=Scope())  # noqa: B039, frozen


@contextmanager
def scope(**wanted: Any) -> Iterator[Scope]:
    """Launches inside follow `Scope(**wanted)`."""
    token = _SCOPE.set(Scope(**wanted))
    try:
        yield _SCOPE.get()
    finally:
        _SCOPE.reset(token)


def override(op: str, channels: int) -> Config | None:
    """The configuration that the surrounding scope asks for, if any."""
    asked = _SCOPE.get().asked
    if asked is not None:
        asked[op] = channels
    return _SCOPE.get().configs.get(op)


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on CPU tensors."""
    return bool(triton.knobs.runtime.interpret)


def family() -> str:
    """The GPU family, or the interpreter, that configurations are chosen for."""
    return _SCOPE.get().family or (INTERPRETER if interpreted() else family_of_device())


@cache
def family_of_device() -> str:
    """Of the current device: its own family, or for NVIDIA the newest one that is not newer.

    Raises ValueError on an AMD architecture without a row in the tables.
    """
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    if torch.version.hip:
        name = properties.gcnArchName.split(":")[0]
        if name not in FAMILIES:
            known = ", ".join(f for f in FAMILIES if f.startswith("gfx"))
            raise ValueError(f"the GPU must be one of {known}, got {name}. Use provider 'eager'.")
        return name
    here = properties.major * 10 + properties.minor
    older = [f for f in FAMILIES if f.startswith("sm_") and int(f[3:]) <= here]
    if not older:
        raise ValueError(f"the GPU must be sm_80 or newer, got sm_{here}. Use provider 'eager'.")
    return max(older, key=lambda f: int(re.sub(r"\D", "", f)))


def launch(kernel: Any, grid: tuple[int, ...], config: Config, **arguments: Any) -> None:
    """Starts `kernel` over `grid` programs, or records it. Nothing is started for an empty grid."""
    if 0 in grid:
        return
    blocks = {n: v for n, v in config.blocks.items() if n in kernel.arg_names}
    if (record := _SCOPE.get().record) is not None:
        record.append(Launch(kernel, grid, {**arguments, **blocks}, config))
        return
    device = next(v.device for v in arguments.values() if isinstance(v, Tensor))
    # Triton starts on the current device, which need not be that of the tensors.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](**arguments, **blocks, **config.options)


def flat_rows(x: Tensor) -> Tensor:
    """x: [..., c] as [m, c] with neighbouring channels side by side; a view where it can be."""
    flat = x.reshape(-1, x.shape[-1])
    return flat if flat.stride(-1) == 1 else flat.contiguous()


def written(x: Tensor, name: str) -> Tensor:
    """x [m, c] as the target of a kernel. Raises ValueError where a copy would be written."""
    if x.dim() != 2 or (x.stride(-1) != 1 and x.shape[-1] > 1):
        raise ValueError(
            f"{name} must be [m, c] with contiguous channels, got shape {list(x.shape)} and "
            f"strides {list(x.stride())}. Pass the buffer that the rows are written to."
        )
    return x
