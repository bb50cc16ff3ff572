"""From the ingress to the replicas: a bounded queue, one deadline, and replay after a crash."""

import asyncio
import math
import time
from collections import deque
from typing import Any

from nitrogen.platform.serving.problems import deadline_exceeded, internal, not_ready, overloaded
from nitrogen.platform.serving.replicas import Replicas

_MAX_ATTEMPTS = 3
_GRACE_S = 1.0


class ServeBackend:
    """A Backend over the handle of the replicas' deployment.

    A request whose replica dies is sent again: its seed is fixed before it is sent, so the picture
    is the same.
    """

    def __init__(self, handle: Any, timeout_s: float, max_queued: int) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self._max_queued = max_queued
        self._recent_s: deque[float] = deque([1.0], maxlen=20)
        self._replicas = Replicas(handle, keep_s=timeout_s + _GRACE_S)

    async def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        from ray import serve
        from ray.exceptions import RayActorError, RayError

        await self._replicas.ask()
        started = time.monotonic()
        for _ in range(_MAX_ATTEMPTS):
            left_s = self._timeout_s - (time.monotonic() - started)
            if left_s <= 0:
                break
            response = self._handle.generate.remote(request, left_s)
            try:
                outcome = await asyncio.wait_for(_finish(response), left_s + _GRACE_S)
            except serve.exceptions.BackPressureError:
                return {"problem": overloaded(self._retry_after_s()).as_dict()}
            except serve.exceptions.DeploymentUnavailableError:
                return {"problem": not_ready().as_dict()}
            except TimeoutError:
                break
            except RayActorError:
                continue
            except RayError:
                return {"problem": internal().as_dict()}
            self._recent_s.append(time.monotonic() - started)
            return outcome
        else:
            return {"problem": not_ready().as_dict()}
        return {"problem": deadline_exceeded(self._timeout_s).as_dict()}

    async def describe(self) -> list[dict[str, Any]]:
        return await self._replicas.describe()

    def _retry_after_s(self) -> int:
        """How long a full queue takes to drain, from what requests took lately; 1 to 60 s."""
        typical_s = sorted(self._recent_s)[len(self._recent_s) // 2]
        return min(60, max(1, math.ceil(typical_s * max(1, self._max_queued) / 2)))


async def _finish(response: Any) -> Any:
    """Await the response; if the waiting is cut short, tell the replica to stop."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
