"""The same method by the row operators that ours runs on, and what the two may share.

The full model and the static schedules run by plain PyTorch and by the operators of the adaptive
path, which are faster: a comparison with the slower ones alone would credit us with our C++. Both
are rows; their pictures are equal to rounding, so they are sampled once where that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.pipelines.bench.methods import Method
from nitrogen.pipelines.bench.quality import Sampled, squared_errors
from nitrogen.pipelines.bench.row_store import Row

BY_ROWS = ", by rows"
NUM_COMPARED = 16  # pictures on which twins are compared
MAX_APART = 1e-9  # mean squared difference of any of them in [0, 1]: 0.008 grey levels of 255


def by_rows(method: Method) -> Method | None:
    """The method by the operators of the adaptive path; None if it runs on them or on no others.

    `ignored` is the full student through the sampler as well: it shares those pictures.
    """
    if method.operators == "torch":
        if method.kind not in ("dense", "schedule"):
            return replace(method, name=method.name + BY_ROWS, kind=f"{method.kind}_by_rows")
        name, model, group = method.name + BY_ROWS, method.model, method.group
    elif method.kind == "ignored":
        num_steps = method.setting["num_steps"]
        name, model, group = f"width 4/4, {num_steps} steps{BY_ROWS}", "student", "static"
    else:
        return None
    num_steps = method.setting["num_steps"]
    setting = {"widths": [NUM_WIDTHS] * num_steps, **method.setting, "model": model}
    return replace(method, name=name, group=group, kind="played", setting=setting)


def with_twins(methods: Sequence[Method]) -> list[Method]:
    """Each method, and its twin after it."""
    found: list[Method] = []
    for method in methods:
        found.append(method)
        twin = by_rows(method)
        if twin is not None:
            found.append(twin)
    return found


def alike(mine: Sampled, theirs: Sampled) -> bool:
    """Whether two methods made the same pictures, up to rounding, of the same seeds."""
    return bool(squared_errors(mine.x_0, theirs.x_0).max() <= MAX_APART)


def spent(mine: Sampled, theirs: Sampled, whole: Row) -> dict[str, np.ndarray] | None:
    """FLOPs and calls of all of a row's pictures, from its first ones and its twin's row; None
    where they do not tell."""
    found = {}
    for name in ("flops", "nfe"):
        first, other = getattr(mine, name), getattr(theirs, name)
        if np.array_equal(first, other):
            found[name] = whole.arrays[name]
        elif np.ptp(first) == 0:
            found[name] = np.full_like(whole.arrays[name], first[0])
        else:
            return None
    return found
