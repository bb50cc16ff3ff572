"""A function on a worker that has a GPU, for a driver that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nitrogen.platform.errors import ClusterError
from nitrogen.platform.training_session import forwarded_environment

T = TypeVar("T")


def call_with_gpu(address: str, work: Callable[[], T], num_gpus: float = 1.0) -> T:
    """work() in a task of the cluster at `address` that holds `num_gpus` GPUs; waits for one.

    `work` is pickled, so functions of the project travel by name; files that it names lie on
    storage that the nodes share. Raises what it raises, ClusterError when the cluster loses it.
    """
    import ray

    from nitrogen.platform.cluster import connect

    variables = forwarded_environment()

    def task() -> T:
        import os

        os.environ.update(variables)
        return work()

    with connect(address):
        remote = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=1)(task)
        try:
            return ray.get(remote.remote())
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the cluster lost a task on a GPU ({str(error).splitlines()[0].rstrip('.')}). "
                "Check the cluster, then run again: finished steps are kept."
            ) from error
