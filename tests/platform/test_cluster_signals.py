"""A run on Ray that is told to stop says so itself, and leaves nothing running."""

import os
import signal
import subprocess
import sys

import pytest

from nitrogen.pipelines.interrupts import Interrupted, interrupts
from nitrogen.platform.cluster_signals import own_signals

PROGRAM = """
import os, signal
from nitrogen.pipelines.interrupts import Interrupted, interrupts
from nitrogen.platform.cluster import start_embedded

try:
    with interrupts(), start_embedded(1, 150 * 2**20):
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit("nobody stopped it")
except Interrupted as stop:
    print(stop)
"""


def test_a_signal_while_ray_starts_is_ours():
    def handler_of_ray(signum, frame):
        sys.exit(signum)

    def start():
        with own_signals():
            signal.signal(signal.SIGTERM, handler_of_ray)
            os.kill(os.getpid(), signal.SIGTERM)

    with interrupts():
        ours = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            start()
        assert signal.getsignal(signal.SIGTERM) is ours


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_sigterm_stays_ours_after_ray_started():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=220, check=False
    )
    assert (done.returncode, done.stdout) == (0, "stopped by SIGTERM\n"), done.stderr[-2000:]
    assert "SIGTERM received" not in done.stderr  # Ray's native handler prints a stack
