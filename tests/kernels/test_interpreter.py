"""The tests of the GPU kernels, run in a process of their own: Triton's interpreter has to be
chosen before Triton is imported, and compiling needs the opposite choice."""

import os
import subprocess
import sys

import pytest

# The conformance test over the provider `triton`, without attention over 256 keys: a minute of it.
# Half precision, and bits in any company (numpy's products do not keep them), in tests/kernels/gpu.
CONFORMANCE = "tests/kernels/test_conformance.py"
CHOSEN = "not test_conformance or (triton and float32 and reference and not row_attention)"


@pytest.mark.aot
def test_every_gpu_kernel_in_the_interpreter(repository):
    files = ["tests/kernels/gpu", CONFORMANCE]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", CHOSEN, *files],
        cwd=repository, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
        timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
