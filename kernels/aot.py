"""Compiles every kernel for every GPU family, without owning one, and judges what came out.

`python -m nitrogen.kernels.aot` prints registers, spills, shared memory, binary size and matrix
instructions of each kernel and target, and exits 1 where something does not compile, needs more
shared memory than the target has, spills, or lacks the matrix unit in a bf16 or fp16 product.
`--all` takes every candidate of `kernels.gpu.tuning`; there a spill is reported, not refused, and
so it is where a card showed that what spills is the fastest.
"""

import argparse
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nitrogen.kernels.gpu import hopper
from nitrogen.kernels.gpu.launch import FAMILIES, Launch, scope
from nitrogen.kernels.gpu.shapes import CASES, FP32, Case
from nitrogen.kernels.gpu.tuning import candidates

# Shared memory a program may use, bytes. CUDA C++ programming guide, "compute capabilities":
# 163, 99, 227 and 227 KiB; LDS of a CDNA2, CDNA3 and RDNA3 workgroup: 64 KiB.
SHARED_LIMIT = {
    "sm_80": 166_912, "sm_89": 101_376, "sm_90": 232_448, "sm_100": 232_448,
    "gfx90a": 65_536, "gfx942": 65_536, "gfx1100": 65_536,
}  # fmt: skip
MATRIX_INSTRUCTION = {
    "sm_80": "mma.sync", "sm_89": "mma.sync", "sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma",
    "gfx90a": "v_mfma", "gfx942": "v_mfma", "gfx1100": "v_wmma",
}  # fmt: skip
POINTERS = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16",
    torch.int64: "*i64", torch.uint8: "*u8",
}  # fmt: skip
SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Build:
    """One kernel for one target. spills: bytes of a thread's stack on NVIDIA, registers on AMD."""

    kernel: str
    case: str
    dtype: str
    target: str
    config: str
    registers: int = 0
    spills: int = 0
    shared_bytes: int = 0
    binary_bytes: int = 0
    matrix: int = 0  # matrix instructions in the text
    problems: tuple[str, ...] = ()


def gpu_target(family: str) -> GPUTarget:
    if family.startswith("sm_"):
        return GPUTarget("cuda", int(family.removeprefix("sm_")), 32)
    return GPUTarget("hip", family, 32 if family.startswith("gfx11") else 64)


def source(launch: Launch) -> ASTSource:
    """The kernel with the types and specialisations that a launch on a GPU gives it."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    aligned: dict[tuple[int], list[list[Any]]] = {}
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        # The launcher makes a constant of the number 1, and notes multiples of 16.
        if parameter.is_constexpr or (isinstance(value, int) and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
            continue
        if isinstance(value, Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            aligned[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(launch.kernel, signature, constants, aligned)


def compile_launch(launch: Launch, case: Case, dtype: torch.dtype, family: str) -> Build:
    config = launch.config
    about = dict(
        kernel=launch.kernel.__name__.removesuffix("_kernel"), case=case.name, dtype=SHORT[dtype],
        target=family, config=config.name,
    )  # fmt: skip
    options = config.options
    try:
        done = triton.compile(source(launch), target=gpu_target(family), options=options)
    except Exception as error:  # whatever the compiler says is the finding
        text = str(error).strip().splitlines()
        return Build(**about, problems=(f"does not compile: {(text or [repr(error)])[-1][:200]}",))
    nvidia = family.startswith("sm_")
    text, binary = done.asm["ptx" if nvidia else "amdgcn"], done.asm["cubin" if nvidia else "hsaco"]
    registers, spills = nvidia_usage(binary) if nvidia else amd_usage(text)
    matrix = text.count(MATRIX_INSTRUCTION[family])
    multiplies = "tt.dot" in done.asm["ttir"] and dtype != torch.float32
    shared = done.metadata.shared
    problems = [
        *([f"needs {shared} bytes of shared memory"] if shared > SHARED_LIMIT[family] else []),
        *([f"spills {spills}"] if spills else []),
        *([f"has no {MATRIX_INSTRUCTION[family]}"] if multiplies and not matrix else []),
    ]
    return Build(
        **about, registers=registers, spills=spills, shared_bytes=shared,
        binary_bytes=len(binary), matrix=matrix, problems=tuple(problems),
    )  # fmt: skip


def nvidia_usage(cubin: bytes) -> tuple[int, int]:
    """(registers, bytes of stack) of the one kernel in a cubin: what spills lies on the stack."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        shown = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    fields = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", shown))
    return int(fields["REG"]), int(fields["STACK"]) + int(fields["LOCAL"])


def amd_usage(amdgcn: str) -> tuple[int, int]:
    """(vector registers, spilled registers of both kinds)."""
    field = lambda name: int(re.search(rf"\.{name}:\s+(\d+)", amdgcn)[1])  # type: ignore[index] # noqa: E731
    return field("vgpr_count"), field("vgpr_spill_count") + field("sgpr_spill_count")


@dataclass(frozen=True)
class Job:
    """One case for one target, `op` under its candidate number `index`; 0 is the default."""

    case: int
    dtype: torch.dtype
    family: str
    op: str
    index: int = 0


def jobs(families: Iterable[str], everything: bool) -> list[Job]:
    """Every case and precision for every family; all candidates of its operators if asked."""
    found = []
    for family in families:
        for number, case in enumerate(CASES):
            every = SHORT if everything and case.dtypes != FP32 else case.dtypes
            for dtype in every:
                found.append(Job(number, dtype, family, case.op))
                for op, channels in case.operators if everything else ():
                    last = len(candidates(op, family, dtype, channels))
                    found += [Job(number, dtype, family, op, index) for index in range(1, last)]
    return found


def build(job: Job) -> list[Build]:
    """Compiles what the case launches."""
    triton.knobs.compilation.disable_line_info = True  # half of the time, most of the binary
    case, record = CASES[job.case], []  # type: ignore[var-annotated]
    configs = {}
    if job.index:
        options = candidates(job.op, job.family, job.dtype, dict(case.operators)[job.op])
        configs = {job.op: options[job.index]}
    with scope(family=job.family, configs=configs, record=record):
        case.run(job.dtype)
    return [compile_launch(launch, case, job.dtype, job.family) for launch in record]


def build_all(work: list[Job], processes: int) -> Iterator[Build]:
    """Forked workers: importing torch takes longer than ten kernels."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for builds in pool.map(build, work, chunksize=4):
            yield from builds


def table(builds: list[Build]) -> str:
    """Markdown, one line a kernel and precision, one column a target: registers / shared KiB."""
    head = "| kernel | case | precision | " + " | ".join(FAMILIES) + " |\n"
    lines = [head + "|---" * (3 + len(FAMILIES)) + "|"]
    seen: dict[tuple[str, str, str], dict[str, Build]] = {}
    for b in builds:
        seen.setdefault((b.kernel, b.case, b.dtype), {})[b.target] = b
    for key, by_target in seen.items():
        cells = [cell(by_target[f]) if f in by_target else "" for f in FAMILIES]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return "\n".join(lines)


def cell(b: Build) -> str:
    sizes = f"{b.shared_bytes / 1024:.0f} K, {b.binary_bytes / 1024:.0f} K"
    parts = f"{b.registers} r, {b.spills} s, {sizes}"
    return ("**" + "; ".join(b.problems) + "** " if b.problems else "") + f"{parts}, {b.matrix} m"


def main() -> None:
    parser = argparse.ArgumentParser(prog="nitrogen.kernels.aot", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every candidate, not only defaults")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of the table")
    parser.add_argument("--target", action="append", choices=FAMILIES, help="only these families")
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    if triton.knobs.runtime.interpret:
        sys.exit("TRITON_INTERPRET must be unset to compile, got 1. Unset it.")
    work = [
        job for job in jobs(options.target or FAMILIES, options.all)
        if options.only in CASES[job.case].name
    ]  # fmt: skip
    builds = []
    for result in build_all(work, options.processes):
        builds.append(result)
        if options.json:
            print(json.dumps(asdict(result)), flush=True)
    if not options.json:
        print(table(builds))
    bad = [b for b in builds if refused(b, options.all)]
    for b in bad:
        where = f"{b.kernel} ({b.case}, {b.dtype}, {b.config}) on {b.target}"
        print(f"{where} {'; '.join(b.problems)}.", file=sys.stderr)
    print(f"{len(builds)} kernels compiled, {len(bad)} refused.", file=sys.stderr)
    sys.exit(1 if bad else 0)


def refused(b: Build, everything: bool) -> bool:
    """A candidate may spill, a default may not unless it was measured: by its time a tuner sees
    what a spill costs."""
    tolerated = ("spills",) if everything or b.target == hopper.FAMILY else ()
    return any(not problem.startswith(tolerated) for problem in b.problems)


if __name__ == "__main__":
    main()
