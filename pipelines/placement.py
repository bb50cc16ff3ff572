"""Where a step computes what is neither a training nor a trial: here, or beside a cluster's GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from nitrogen.pipelines.executor import ExecutorConfig

T = TypeVar("T")


def here(settings: ExecutorConfig) -> bool:
    """Whether `beside_gpu` computes in this process."""
    return settings.kind != "address" or not settings.use_gpu


def beside_gpu(settings: ExecutorConfig, work: Callable[[], T]) -> T:
    """work(), on the recipe's device.

    In this process, except on a cluster whose GPUs are wanted: a job starts on the head, which need
    not have one. `work` checks the device itself, where it runs. Raises what `work` raises,
    ClusterError when the cluster loses it.
    """
    if here(settings):
        return work()
    from nitrogen.platform.gpu_task import call_with_gpu

    return call_with_gpu(str(settings.address), work)
