"""What the C++ refuses: tensors that it cannot walk, values that it cannot look up, no memory."""

import os
import re
from pathlib import Path

import pytest
import torch

from nitrogen.kernels.cpu import fused, library
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.plan import every_row
from nitrogen.kernels.registry import OPERATORS

pytestmark = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")
CPP = Path(library.__file__).parent
HUGE = 2**55  # floats: more than an address space has


def test_signatures_are_those_of_the_sources():
    """`operators.h` in letters: a pointer, a long, a float, an int."""
    declared = {}
    text = (CPP / "operators.h").read_text()
    for name, arguments in re.findall(r"^void (\w+)\(([^;]*)\);", text, re.MULTILINE):
        kinds = ["p" if "*" in a else a.split()[0][0] for a in arguments.split(",")]
        declared[name] = "".join(kinds)
    assert declared == library.SIGNATURES


def first_case(name):
    cases = list(OPERATORS[name].make_cases(torch.float32, "cpu"))
    wanted = (c for c in cases if c.label.startswith("63") and "mixed" in c.label)
    return list(next(wanted, cases[0]).args)


TENSORS = [
    (name, index)
    for name in CPU
    for index, value in enumerate(first_case(name))
    if isinstance(value, torch.Tensor)
]


@pytest.mark.parametrize(("name", "index"), TENSORS)
def test_every_tensor_of_another_dtype_or_device_is_refused(name, index):
    args = first_case(name)
    right = args[index]
    other = torch.float64 if right.is_floating_point() else torch.int32
    for wrong in (right.to(other), right.to("meta")):
        args[index] = wrong
        with pytest.raises(TypeError, match=r"must be|must get"):
            CPU[name](*args)


def test_a_row_set_with_gaps_is_refused():
    args = first_case("row_mlp")
    for index in (5, 6):
        spread = args[index].repeat_interleave(2)[::2]
        with pytest.raises(TypeError, match="must be contiguous int64"):
            CPU["row_mlp"](*args[:index], spread, *args[index + 1 :])
    with pytest.raises(TypeError, match=r"counts must be \[5\], got \[4\]"):
        CPU["row_mlp"](*args[:6], args[6][:4], *args[7:])


@pytest.mark.parametrize("threads", [1, 2])
def test_no_memory_is_an_error_of_python(threads):
    """Both in the caller's thread and inside the team; afterwards the same call works again."""
    raw, one = library.load()[0], torch.zeros(1)
    rows = every_row(16, one.device)
    pointers = (rows.rows.data_ptr(), rows.counts.data_ptr())
    with pytest.raises(MemoryError, match=r"depthwise must get the memory .* Use a smaller batch"):
        raw.depthwise(*[one.data_ptr()] * 4, 0, 0, *pointers, HUGE, 1, 4, 4, 1, 1, None, threads)
    with pytest.raises(MemoryError, match="row_linear"):
        raw.row_linear(
            *[one.data_ptr()] * 3, 0, 16, 1e-6, one.data_ptr(), None, *pointers, HUGE // 96, 16,
            None, threads,
        )  # fmt: skip
    args = first_case("depthwise")
    CPU["depthwise"](*args)


@pytest.mark.parametrize("threads", [1, 2])
def test_more_than_a_vector_may_hold_ends_no_process(threads):
    """A head of 2^61 channels: the sizes of the workspace wrap around to what there is, and it is
    the vector inside the team that throws, a length_error, and nothing may leave a thread so."""
    raw, one = library.load()[0], torch.zeros(1)
    rows = every_row(2 * 4 * 4, one.device)
    pointers = (rows.rows.data_ptr(), rows.counts.data_ptr())
    with pytest.raises(MemoryError, match="row_attention must get the memory"):
        raw.row_attention(one.data_ptr(), *pointers, 2, 4, 4, 2**61, 1, one.data_ptr(), threads)


def test_a_label_or_width_out_of_range_is_an_error():
    args = (torch.zeros(2, 1, 2, 3), torch.zeros(3, 8), ((torch.zeros(4, 14), torch.zeros(4)),))
    layers = (
        *args[2], (torch.zeros(4, 4), torch.zeros(4)), (torch.zeros(1, 4), torch.zeros(1)),
        (torch.zeros(2, 4), torch.zeros(2)),
    )  # fmt: skip
    for label in (-1, 3):
        with pytest.raises(IndexError, match="labels must be 0 to num_classes"):
            fused.predict(args[0], torch.tensor([0, label]), args[1], layers, (0.0, 1.0))
    for width in (-1, 5):
        widths = torch.full((1, 2, 2), width)
        with pytest.raises(IndexError, match="widths and caps must be 0 to 4"):
            CPU["plan_rows"](widths, torch.tensor([9]), 4, 4)


def test_regions_that_do_not_divide_the_map_are_an_error():
    for side in (3, 5, 8):
        with pytest.raises(IndexError, match="regions must divide the map"):
            CPU["plan_rows"](torch.ones(1, side, side, dtype=torch.int64), torch.tensor([4]), 4, 4)
    with pytest.raises(TypeError, match=r"caps must be \[2\]"):
        CPU["plan_rows"](torch.ones(2, 2, 2, dtype=torch.int64), torch.tensor([4]), 4, 4)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_large_workspace_goes_back_and_a_small_one_stays():
    """1 / rms of 2^24 rows are 64 MiB; a thread keeps 4 of a kind."""
    x, one = torch.zeros(1, 4096, 4096, 1), torch.zeros(1, 1)
    rows, counts = torch.zeros(1, dtype=torch.int64), torch.tensor([0, 0, 0, 0, 1])
    args = (one.view(1, 1, 1, 1).expand(1, 1, 3, 3), one, one, rows, counts)
    CPU["depthwise"](x[:, :64, :64], *args)
    before = resident_bytes()
    CPU["depthwise"](x, *args)
    assert resident_bytes() - before < 2**25


def test_taps_of_another_kind_are_refused():
    """A picture's for a volume, a volume's for a picture, five along the depth, as many taps on
    another axis, and those of fewer channels than there are."""
    rows = every_row(24, torch.device("cpu"))
    picture, volume = torch.randn(1, 6, 4, 8), torch.randn(1, 2, 3, 4, 8)
    rest = (torch.randn(1, 8), torch.randn(1, 8), rows.rows, rows.counts)
    wrong = (
        (picture, (8, 1, 3, 3, 3)), (volume, (8, 1, 3, 3)), (volume, (8, 1, 5, 3, 3)),
        (picture, (8, 1, 5, 5)), (picture, (8, 3, 3, 3)), (volume, (8, 3, 1, 3, 3)),
        (picture, (7, 1, 3, 3)), (volume, (4, 1, 3, 3, 3)), (picture, (9, 1, 3, 3)),
    )  # fmt: skip
    for x, taps in wrong:
        with pytest.raises(TypeError, match=r"weight must be \[c, 1, 3, 3\] for a picture"):
            CPU["depthwise"](x, torch.randn(taps), *rest)
    flat = torch.randn(8, 1, 1, 3, 3)
    assert torch.equal(
        CPU["depthwise"](picture[:, None], flat, *rest),
        CPU["depthwise"](picture, flat[:, :, 0], *rest),
    )
