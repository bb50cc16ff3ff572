"""The compiled library as Python sees it, and the weights that are packed for it."""

import ctypes
import logging
import os
import weakref
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nitrogen.kernels.cpu.build import BuildError, library_path

PANEL = 16  # columns of a panel, COLUMNS in gemm.h
OFF = "NITROGEN_CPU_KERNELS"  # =0: plain PyTorch
log = logging.getLogger(__name__)

TYPES = {"p": ctypes.c_void_p, "l": ctypes.c_long, "f": ctypes.c_float, "i": ctypes.c_int}
SIGNATURES = {  # as declared in the sources
    "plan_rows": "pplllllpp",
    "norm_modulate": "ppplllfpplpi",
    "depthwise": "ppppllppllllpi",
    "row_mlp": "ppppppplllpi",
    "gated_add": "pplplllpi",
    "row_linear": "pppllfppppllpi",
    "row_attention": "ppplllllpi",
    "mlp_block": "ppppplppppppllllllppi",
    "attention_block": "pppplpppplllllpppi",
    "region_stats": "ppllllllp",
    "ode_exit": "pppppppllllllp",
}


@lru_cache(maxsize=1)
def load() -> tuple[Any, str]:
    """(library or None, what is on and why); decided once a process, and loud if it is off."""
    if os.environ.get(OFF) == "0":
        return None, f"plain PyTorch, {OFF}=0"
    try:
        path = library_path()
        library = ctypes.CDLL(str(path))
    except (BuildError, OSError) as error:
        log.warning("CPU kernels are off and sampling is slower: %s.", error)
        return None, f"plain PyTorch, {error}"
    for name, letters in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [TYPES[letter] for letter in letters], None
    return library, f"C++ ({path.name})"


def cpu_available() -> bool:
    return load()[0] is not None


class Packed:
    """A tensor as the kernels read it, made once for each value of its source.

    The entry of a source dies with it, and is made anew when the source was written to.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], tuple[Any, int, int, Tensor]] = {}

    def get(self, source: Tensor, layout: str) -> Tensor:
        """layout: `panels`, `bias` or `taps`."""
        key = (id(source), layout)
        entry = self._entries.get(key)
        if source.is_inference():
            return LAYOUTS[layout](source)  # such tensors do not count their versions
        version, address = source._version, source.data_ptr()
        if entry and entry[0]() is source and entry[1] == version and entry[2] == address:
            return entry[3]
        assert (source.dtype, source.device.type) == (torch.float32, "cpu")
        packed = LAYOUTS[layout](source)
        reference = weakref.ref(source, lambda _: self._entries.pop(key, None))
        self._entries[key] = (reference, version, address, packed)
        return packed


def panels(weight: Tensor) -> Tensor:
    """[e, c] -> [ceil(e / 16), c, 16], zeros for features that are not there."""
    padded = F.pad(weight.detach(), (0, 0, 0, -weight.shape[0] % PANEL))
    return padded.view(-1, PANEL, weight.shape[1]).transpose(1, 2).contiguous()


def padded_bias(bias: Tensor) -> Tensor:
    return F.pad(bias.detach(), (0, -bias.shape[0] % PANEL)).contiguous()


def taps(weight: Tensor) -> Tensor:
    """[c, 1, 3, 3] -> [9, c]."""
    return weight.detach().reshape(weight.shape[0], 9).t().contiguous()


LAYOUTS = {"panels": panels, "bias": padded_bias, "taps": taps}
