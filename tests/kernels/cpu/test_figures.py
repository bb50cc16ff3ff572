"""The figures of README that are no operator's: each is measured, and GELU's error is bounded."""

import json
import sys

import pytest
import torch

from nitrogen.kernels.cpu import figures, library
from nitrogen.kernels.cpu.build import BuildError

pytestmark = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")


def test_gelu_is_exact_to_the_last_bits(monkeypatch):
    assert 1e-9 < figures.gelu_error() < 6e-8  # 2^-24
    tanh = lambda x: torch.nn.functional.gelu(x.double(), approximate="tanh")  # noqa: E731
    monkeypatch.setattr(figures, "gelu_reference", tanh)
    assert figures.gelu_error() > 1e-5, "an approximation would be seen"


def test_a_call_through_the_dispatcher_costs_more():
    direct, registered = (line["value"] for line in figures.call_cost(3))
    assert 0 < direct < registered


@pytest.mark.slow  # compiles
def test_every_figure_has_a_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["figures", "--repeats", "1"])
    figures.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["figure"] for line in lines] == [
        "build", *["micro-kernel"] * 2,
        "gated_add directly", "gated_add through the dispatcher", "gelu",
    ]  # fmt: skip
    assert all(line["value"] > 0 and line["unit"] and line["n"] == 1 for line in lines)


def test_without_a_compiler_a_sentence_says_so(monkeypatch, capsys):
    def none():
        raise BuildError("there is no C++ compiler")

    monkeypatch.setattr(figures, "usable_compiler", none)
    monkeypatch.setattr(sys, "argv", ["figures"])
    with pytest.raises(SystemExit):
        figures.main()
    assert "to be measured: there is no C++ compiler." in capsys.readouterr().err
