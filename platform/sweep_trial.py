"""What runs inside a trial's process."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

DONE_KEY = "_done"
ERROR_KEY = "_error"


class TrialReport:
    """Sends intermediate metrics to the sweep; see sweeps.Report."""

    def __init__(self, index: int, folder: str) -> None:
        self.index = index
        self.folder = folder
        self._last: dict[str, Any] = {}

    def __call__(self, metrics: Mapping[str, float]) -> None:
        self._send(metrics)

    def done(self, metrics: Mapping[str, Any]) -> None:
        self._send({**metrics, DONE_KEY: True})

    def failed(self, error: Exception) -> None:
        lines = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        self._send({**self._last, ERROR_KEY: text})

    def _send(self, metrics: Mapping[str, Any]) -> None:
        from ray import tune

        self._last = dict(metrics)
        tune.report(self._last)


def run_trial(
    objective: Callable[..., Mapping[str, Any]],
    suggestion: Mapping[str, Any],
    variables: Mapping[str, str],
) -> None:
    """Run one trial; its failure is reported as such, with the traceback in the worker's log."""
    os.environ.update(variables)
    report = TrialReport(suggestion["index"], suggestion["folder"])
    try:
        report.done(objective(dict(suggestion["config"]), report))
    except Exception as error:  # boundary: one failed trial does not end a sweep
        traceback.print_exc()
        report.failed(error)
