"""Every provider of every operator against float64: results, bits, what stays untouched."""

import pytest
import torch
from torch import Tensor

from nitrogen.kernels import providers
from nitrogen.kernels.cases import CASES, Case
from nitrogen.kernels.cpu.ops import CPU
from nitrogen.kernels.operators import DECLARED, Declared
from nitrogen.kernels.providers import EAGER
from nitrogen.kernels.reference import REFERENCES, TOLERANCES, relative_rms
from nitrogen.kernels.registry import OPERATORS, operators

FLOATS = [torch.float32, torch.bfloat16, torch.float16]


def runs(operators):
    """One run for each operator, each provider that it has, and each precision that this takes.
    One on a card is marked `gpu`, and skipped where there is none."""
    for name, operator in operators.items():
        for provider in operator.providers:
            on_card = provider.device != "cpu"
            missing = pytest.mark.skipif(not provider.available(), reason="cannot run here")
            for dtype in FLOATS if name != "plan_rows" else FLOATS[:1]:
                if dtype in provider.dtypes:
                    yield pytest.param(
                        operator, provider, dtype, id=f"{name}-{provider.name}-{str(dtype)[6:]}",
                        marks=[missing, pytest.mark.gpu] if on_card else [missing],
                    )  # fmt: skip


RUNS = list(runs(OPERATORS))
# Plain PyTorch rounds half precision differently in the body and the tail of a loop.
STEADY = [run for run in RUNS if run.values[1].name != "eager" or run.values[2] == torch.float32]


@pytest.fixture(autouse=True)
def poisoned():
    """torch.empty returns NaN: what a kernel should have written and did not, shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.empty(3).isnan().all()
    assert torch.zeros(2).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def test_every_operator_has_a_plain_path_a_reference_and_cases():
    """And a kernel of another provider belongs to an operator: whoever misspells one learns it."""
    for table in (CASES, EAGER, REFERENCES):
        assert set(table) == set(DECLARED)
    assert set(CPU) <= set(DECLARED)


@torch.no_grad()
def test_a_new_operator_and_what_it_has_are_found_by_themselves(monkeypatch):
    """A row in each of four tables and nothing else: no C++, no Triton, no gradient, no benchmark
    and no row set. Then a C++ kernel that is wrong."""

    def cases(dtype, device):
        yield Case("one", (torch.arange(3.0, device=device).to(dtype),))

    twice = Declared("(Tensor x) -> Tensor", lambda x: x.new_empty(x.shape))
    monkeypatch.setitem(DECLARED, "toy", twice)
    monkeypatch.setitem(REFERENCES, "toy", lambda x: 2 * x.double())
    monkeypatch.setitem(EAGER, "toy", lambda x: x + x)
    monkeypatch.setitem(CASES, "toy", cases)
    found = [run for run in runs(operators()) if run.values[0].name == "toy"]
    assert [run.id for run in found] == [f"toy-eager-{str(dtype)[6:]}" for dtype in FLOATS]
    test_every_operator_has_a_plain_path_a_reference_and_cases()
    for run in found:
        test_equals_the_reference(*run.values)
        for needs_rows in (
            test_bits_of_a_row_do_not_depend_on_its_company,
            test_a_sample_twice_in_a_batch_comes_out_twice_the_same,
        ):
            with pytest.raises(pytest.skip.Exception):
                needs_rows(*run.values)
    assert providers.provider("toy", (torch.ones(3),)) is EAGER["toy"]

    monkeypatch.setitem(CPU, "toy", lambda x: 3 * x)
    found = [run for run in runs(operators()) if run.id == "toy-cpu-float32"]
    with pytest.raises(AssertionError, match="one"):
        test_equals_the_reference(*found[0].values)


def test_the_readme_says_what_there_is(repository):
    """The columns `cpu`, `triton` and `gradient` of its table of operators."""
    text = (repository / "kernels" / "README.md").read_text()
    said = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[4:7]]
        for line in text.splitlines()
        if line.startswith("| `") and len(cells := line.split("|")) == 8
    }
    assert set(said) == set(OPERATORS)
    for name, operator in OPERATORS.items():
        has = {provider.name for provider in operator.providers}
        gradient = "yes" if DECLARED[name].differentiable else "-"
        gradient = f"`{name}_new`" if operator.writes else gradient
        expected = [*("yes" if one in has else "-" for one in ("cpu", "triton")), gradient]
        assert said[name] == expected, name


def result_of(operator, kernel, args):
    """What a kernel returns, or the buffer that it wrote (on a copy)."""
    args = [value.clone() if isinstance(value, Tensor) else value for value in args]
    result = kernel(*args)
    return args[-1] if operator.writes else result


def index_of_rows(args):
    """Where `rows` is among the arguments: the first int64 tensor."""
    return next(i for i, v in enumerate(args) if isinstance(v, Tensor) and v.dtype == torch.int64)


@pytest.mark.parametrize(("operator", "provider", "dtype"), RUNS)
@torch.no_grad()
def test_equals_the_reference(operator, provider, dtype):
    for case in operator.make_cases(dtype, provider.device):
        expected = operator.reference(*case.args)  # on the device of its arguments
        got = result_of(operator, provider.kernel(), case.args)
        if isinstance(got, tuple):
            assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)), case.label
            continue
        assert got.shape == expected.shape, case.label
        assert relative_rms(got, expected) <= TOLERANCES[dtype], case.label
        if operator.writes:  # and rows that are not active hold the poison that they held
            assert torch.equal(got.isnan(), expected.isnan()), case.label


@pytest.mark.parametrize(("operator", "provider", "dtype"), STEADY)
@torch.no_grad()
def test_bits_of_a_row_do_not_depend_on_its_company(operator, provider, dtype):
    """Half of the active rows alone, at the same widths, give the bits that all of them gave."""
    if not operator.over_rows:
        pytest.skip("has no row set")
    cases = [c for c in operator.make_cases(dtype, provider.device) if "mixed" in c.label]
    assert cases
    for case in cases:
        args, at = list(case.args), index_of_rows(case.args)
        together = result_of(operator, provider.kernel(), args)
        rows, counts = args[at], args[at + 1]
        groups = rows[: int(counts[1:].sum())].split(counts[1:].tolist())
        kept = [group[::2] for group in groups]
        left = torch.cat([*(group[1::2] for group in groups), rows[int(counts[1:].sum()) :]])
        args[at] = torch.cat([*kept, left])
        args[at + 1] = counts.new_tensor([len(left), *(len(group) for group in kept)])
        alone = result_of(operator, provider.kernel(), args)
        for group in kept:
            assert torch.equal(alone[group], together[group]), case.label


@pytest.mark.parametrize(("operator", "provider", "dtype"), STEADY)
@torch.no_grad()
def test_a_sample_twice_in_a_batch_comes_out_twice_the_same(operator, provider, dtype):
    cases = [c for c in operator.make_cases(dtype, provider.device) if "100 rows" in c.label]
    if not cases and not operator.over_rows:
        pytest.skip("has no rows: see test_pictures, test_fused")
    args, per_sample = list(cases[0].args), 25
    for i, value in enumerate(args):  # b = 4: the second half becomes a copy of the first
        if isinstance(value, Tensor) and value.is_floating_point() and len(value) in (4, 100):
            args[i] = torch.cat([value[: len(value) // 2]] * 2)
    got = result_of(operator, provider.kernel(), args)
    assert torch.equal(got[: 2 * per_sample], got[2 * per_sample :])
