"""What may be handed to C++: dtype, device and layout of a tensor, checked before its address."""

import torch
from torch import Tensor


def dense(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """x with its elements in a row, as the kernels walk it. Raises TypeError for another dtype or
    device."""
    if x.dtype != dtype or not x.is_cpu:
        raise TypeError(
            f"a kernel of this processor must get {dtype} on the CPU here, got {x.dtype} on "
            f"{x.device}. Convert the tensor."
        )
    return x if x.is_contiguous() else x.contiguous()


def row_set(rows: Tensor, counts: Tensor) -> tuple[int, int]:
    """Addresses of a row set. Which rows it names is not looked at: a plan is trusted.

    Raises TypeError unless both are contiguous int64 on the CPU, counts of 5.
    """
    for name, x in (("rows", rows), ("counts", counts)):
        if x.dtype != torch.int64 or not x.is_cpu or not x.is_contiguous():
            raise TypeError(
                f"{name} must be contiguous int64 on the CPU, got {x.dtype} on {x.device} with "
                f"strides {list(x.stride())}. Take them from plan_rows."
            )
    if counts.shape != (5,):
        raise TypeError(f"counts must be [5], got {list(counts.shape)}. Take it from plan_rows.")
    return rows.data_ptr(), counts.data_ptr()


def lines(x: Tensor) -> Tensor:
    """x [b, c] whose samples may stand apart (a slice of all modulations), each in a row."""
    if x.dtype != torch.float32 or not x.is_cpu:
        raise TypeError(
            f"modulations must be float32 on the CPU, got {x.dtype} on {x.device}. Convert them."
        )
    return x if x.stride(1) == 1 else x.contiguous()


def slices(*parts: Tensor) -> tuple[tuple[Tensor, ...], int]:
    """parts [b, c] each, with one stride from sample to sample."""
    parts = tuple(lines(part) for part in parts)
    if any(part.stride(0) != parts[0].stride(0) for part in parts):
        parts = tuple(part.contiguous() for part in parts)
    return parts, parts[0].stride(0)


def writable(x: Tensor, *shape: int) -> Tensor:
    """x, if a kernel may write this shape into it."""
    if not x.is_contiguous() or not x.is_cpu or (*x.shape, x.dtype) != (*shape, torch.float32):
        raise TypeError(
            f"what a kernel writes must be contiguous float32 {list(shape)} on the CPU, got "
            f"{x.dtype} {list(x.shape)} on {x.device}. Pass the buffer of the operator's contract."
        )
    return x
