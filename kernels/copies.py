"""Copies of weights as kernels read them, made once for each value.

A copy is good for one (tensor, version, address). `_version` counts every write that torch sees:
`weight.mul_(2)` under no_grad, an optimiser's foreach step, load_state_dict, `weight.data = other`
(the address changes). It does not count a write that goes past autograd: a fused optimiser,
`weight.data.mul_(2)`, numpy or dlpack memory shared with the weight, a pointer handed to C. Who
writes like that must say so with `torch.autograd.graph.increment_version(weight)` behind the write
(`note_writes` in pipelines/training/optimizer.py does, after every fused step), or the kernels go
on with the old value.
"""

import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor

Layout = TypeVar("Layout", bound=Hashable)


class Copies(Generic[Layout]):
    """A tensor in each of some layouts, made once for each value of its source.

    The entry of a source dies with it, and is made anew when the source was written to.
    """

    def __init__(self, layouts: Mapping[Layout, Callable[[Tensor], Tensor]]) -> None:
        self._layouts = layouts
        self._entries: dict[tuple[int, Layout], tuple[Any, int, Tensor, Tensor]] = {}

    def get(self, source: Tensor, layout: Layout) -> Tensor:
        """The source in a layout, made by that layout's function. Raises what this raises."""
        key = (id(source), layout)
        entry = self._entries.get(key)
        if source.is_inference():
            return self._layouts[layout](source)  # such tensors do not count their versions
        version = source._version
        if entry and entry[0]() is source and entry[1] == version and same_memory(entry[2], source):
            return entry[3]
        made = self._layouts[layout](source)
        reference = weakref.ref(source, lambda _: self._entries.pop(key, None))
        # The alias keeps the memory: `source.data = other` could get the same address otherwise.
        self._entries[key] = (reference, version, source.detach(), made)
        return made


def same_memory(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr()
