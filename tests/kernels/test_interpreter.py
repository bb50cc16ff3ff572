"""The tests of the GPU kernels, run in a process of their own: Triton's interpreter has to be
chosen before Triton is imported, and compiling needs the opposite choice."""

import os
import subprocess
import sys


def test_every_gpu_kernel_in_the_interpreter(repository):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels/gpu"],
        cwd=repository, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
        timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout or "[100%]" in done.stdout
