"""What the cross-compiler refuses, and that no default configuration is refused anywhere."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import triton

from nitrogen.kernels import aot
from nitrogen.kernels.gpu.launch import FAMILIES, Config, scope
from nitrogen.kernels.gpu.shapes import CASES
from nitrogen.kernels.gpu.tuning import OPERATORS, candidates

compiles = pytest.mark.skipif(triton.knobs.runtime.interpret, reason="needs the compiler")


def recorded(op, channels, dtype, family, config=None):
    """The last launch of a case, under another configuration if given."""
    [case] = [c for c in CASES if c.op == op and c.channels == channels]
    record = []
    with scope(family=family, configs={op: config} if config else {}, record=record):
        case.run(dtype)
    return record[-1], case


@compiles
def test_a_signature_is_what_a_launch_on_a_gpu_would_have():
    launch, _ = recorded("row_linear", 256, torch.bfloat16, "sm_90")
    source = aot.source(launch)
    assert (source.signature["x"], source.signature["out"]) == ("*bf16", "*fp32")
    assert source.signature["rows"] == "*i64"
    assert source.signature["num_in"] == "i32"
    assert source.signature["BLOCK_M"] == "constexpr"
    names = [launch.kernel.arg_names[i] for (i,) in source.attrs]
    assert "stride_x" in names
    odd = replace(launch, arguments={**launch.arguments, "num_in": 250, "num_out": 1})
    source = aot.source(odd)
    assert "num_in" not in [launch.kernel.arg_names[i] for (i,) in source.attrs]
    assert source.signature["num_out"] == "constexpr"


def test_every_family_and_operator_has_its_rows():
    assert set(aot.SHARED_LIMIT) == set(aot.MATRIX_INSTRUCTION) == set(FAMILIES)
    assert {op for case in CASES for op, _ in case.operators} == set(OPERATORS)
    for op in OPERATORS:
        for family in FAMILIES:
            for dtype in aot.SHORT:
                assert candidates(op, family, dtype, 64)


def test_amd_registers_and_spills_are_read_from_the_text():
    text = ".vgpr_count:     12\n.vgpr_spill_count: 3\n.sgpr_spill_count: 1\n"
    assert aot.amd_usage(text) == (12, 4)


def test_a_default_may_not_spill_and_a_candidate_may():
    spilling = aot.Build("k", "c", "bf16", "sm_80", "", problems=("spills 8",))
    broken = replace(spilling, problems=("spills 8", "has no mma.sync"))
    assert aot.refused(spilling, everything=False)
    assert not aot.refused(spilling, everything=True)
    assert aot.refused(broken, everything=True)
    large = replace(spilling, problems=("needs 300000 bytes of shared memory",))
    assert aot.refused(large, everything=True)
    assert not aot.refused(replace(spilling, problems=()), everything=False)
    measured = replace(spilling, target="sm_90")
    assert not aot.refused(measured, everything=False)
    assert aot.refused(replace(broken, target="sm_90"), everything=False)
    assert "**spills 8**" in aot.table([spilling])


def test_every_candidate_is_a_job_and_every_default_is_one_once():
    everything = aot.jobs(["sm_90"], everything=True)
    assert len(set(everything)) == len(everything)
    defaults = aot.jobs(["sm_90"], everything=False)
    assert {job for job in everything if job.index == 0} >= set(defaults)
    for number, case in enumerate(CASES):
        for op, channels in case.operators:
            last = len(candidates(op, "sm_90", torch.float32, channels))
            mine = {
                j.index
                for j in everything
                if (j.case, j.op, j.dtype) == (number, op, torch.float32)
            }
            assert mine | {0} == set(range(last)), (case.name, op)


@pytest.mark.aot
@compiles
@pytest.mark.parametrize(
    ("family", "config", "problem"),
    [
        ("gfx942", Config({"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 128}, 8, 2), "shared memory"),
        ("sm_90", Config({"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 32}), "has no wgmma"),
        ("sm_80", Config({"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 32}, 4), "spills"),
        ("sm_80", Config({"BLOCK_M": 24, "BLOCK_N": 32, "BLOCK_K": 32}), "does not compile"),
    ],
)
def test_the_compiler_sees_each_problem(family, config, problem):
    launch, case = recorded("row_linear", 256, torch.bfloat16, family, config)
    found = aot.compile_launch(launch, case, torch.bfloat16, family)
    assert any(problem in text for text in found.problems), found


@pytest.mark.aot
def test_every_default_configuration_builds_for_every_family(repository):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "nitrogen.kernels.aot", "--json"],
        cwd=repository, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    builds = [json.loads(line) for line in done.stdout.splitlines()]
    kernels = {b["kernel"] for b in builds}
    folder = repository / "kernels" / "gpu"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    assert kernels == set(re.findall(r"def (\w+)_kernel\(", text))
    for family in FAMILIES:
        assert {b["kernel"] for b in builds if b["target"] == family} == kernels
