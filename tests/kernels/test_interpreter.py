"""The tests of the GPU kernels, run in processes of their own: Triton's interpreter has to be
chosen before Triton is imported, and compiling needs the opposite choice."""

import os
import subprocess
import sys

import pytest

# The conformance test over the provider `triton`, without attention over 256 keys: a minute of it.
# Half precision, and bits in any company (numpy's products do not keep them), in tests/kernels/gpu.
CHOSEN = "not test_conformance or (triton and float32 and reference and not row_attention)"
# Side by side, since the interpreter uses one core: about as much work in each.
PARTS = (
    [
        "tests/kernels/gpu/test_row_products.py", "tests/kernels/gpu/test_bench.py",
        "tests/kernels/gpu/test_measured.py", "tests/kernels/gpu/test_far_and_twice.py",
    ],
    [
        "tests/kernels/gpu/test_row_maps.py", "tests/kernels/gpu/test_pictures.py",
        "tests/kernels/test_conformance.py",
    ],
)  # fmt: skip


def test_every_file_is_in_a_part(repository):
    files = {str(p.relative_to(repository)) for p in repository.glob("tests/kernels/gpu/test_*.py")}
    assert files <= {file for part in PARTS for file in part}


@pytest.mark.aot
def test_every_gpu_kernel_in_the_interpreter(repository):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", CHOSEN]
    running = [
        subprocess.Popen(
            [*command, *files], cwd=repository, env={**os.environ, "TRITON_INTERPRET": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for files in PARTS
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=280)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for process, text in zip(running, said, strict=True):
        assert process.returncode == 0, text[-6000:]
        assert " passed" in text
