"""The compiled library as Python sees it: its functions, their arguments, and their errors."""

import ctypes
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nitrogen.kernels.cpu.build import OFF, BuildError, library_path

log = logging.getLogger(__name__)

TYPES = {
    "p": ctypes.c_void_p,
    "l": ctypes.c_long,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
    "i": ctypes.c_int,
}
SIGNATURES = {  # as declared in operators.h
    "plan_rows": "pplllllpp",
    "norm_modulate": "ppplllfpplpi",
    "depthwise": "ppppllppllllllpi",
    "row_mlp": "ppppppplllpi",
    "gated_add": "pplplllpi",
    "row_linear": "pppllfppppllpi",
    "row_attention": "ppplllllpi",
    "region_stats": "ppllllllp",
    "ode_exit": "pppppppllllllp",
    "mlp_block": "ppppplppppppllllllppi",
    "attention_block": "pppplpppplllllpppi",
    "preconditioning": "pflp",
    "conditioning": "pppplplpppppppplllpi",
    "stem": "pppllllllpi",
    "head": "ppplppllllllpi",
    "down": "ppplllllpi",
    "up": "pppplllllpi",
    "region_features": "pppppppppfllllllp",
    "predict": "pppllpppppppplllllffpi",
    "network": "ppppppppflllllpi",
    "allocate": "ppppdlllp",
    "plan_step": "pl",
    "run_steps": "plpl",
}
OUT_OF_MEMORY, OUT_OF_RANGE = 1, 2  # as in exports.cpp
OUTSIDE = {
    "plan_rows": "widths and caps must be 0 to 4 quarters and regions must divide the map",
    "conditioning": "labels must be 0 to num_classes",
    "predict": "labels must be 0 to num_classes",
    "plan_step": "labels must be 0 to num_classes, widths 0 to 4 quarters, steps below num_steps",
    "run_steps": "labels must be 0 to num_classes, widths 0 to 4 quarters, steps below num_steps",
    "network": (
        "labels must be 0 to num_classes, widths 0 to 4 quarters and regions must divide the map"
    ),
}


@lru_cache(maxsize=1)
def load() -> tuple[Any, str]:
    """(library or None, what is on and why); decided once a process, and loud if it is off."""
    if os.environ.get(OFF) == "0":
        return None, f"plain PyTorch, {OFF}=0"
    try:
        path = library_path()
        return functions(path), f"C++ ({path.name})"
    except (BuildError, OSError) as error:
        log.warning("CPU kernels are off and sampling is slower: %s.", error)
        return None, f"plain PyTorch, {error}"


def functions(path: Path) -> Any:
    """Every operator of a compiled library by its name. Raises OSError."""
    library = ctypes.CDLL(str(path))
    library.nitrogen_operator.argtypes = [ctypes.c_char_p]
    library.nitrogen_operator.restype = ctypes.c_void_p
    return SimpleNamespace(**{name: function(library, name) for name in SIGNATURES})


def function(library: Any, name: str) -> Callable[..., int]:
    """The operator `name`. Raises MemoryError and IndexError for what it could not do."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *(TYPES[letter] for letter in SIGNATURES[name]))
    found = prototype(library.nitrogen_operator(name.encode()))

    def check(outcome: int, *_: Any) -> int:
        if outcome == OUT_OF_MEMORY:
            raise MemoryError(
                f"{name} must get the memory that it works in, got none. Use a smaller batch or "
                "picture, or fewer threads."
            )
        if outcome == OUT_OF_RANGE:
            raise IndexError(f"{OUTSIDE[name]}, got another value. Check the request.")
        return outcome

    found.errcheck = check  # type: ignore[assignment]
    return found


def cpu_available() -> bool:
    return load()[0] is not None
