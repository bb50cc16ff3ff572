"""What the replicas say of themselves, also while all of them are full."""

import asyncio
import logging
import math
import time
from typing import Any

logger = logging.getLogger("ray.serve")

EVERY_S = 1.0
_PATIENCE_S, _FIRST_PATIENCE_S = 0.5, 5.0


class Replicas:
    """Asks all replicas of a handle for `Replica.describe()`, one question at a time.

    Serve lets a broadcast wait for a free slot like any request (ray 2.60), so replicas that are
    full stay silent. What they last said counts for keep_s: by then a request must have ended. A
    replica that is known to be dead answers at once; where others are full, it counts until these
    have answered.
    """

    def __init__(self, handle: Any, keep_s: float) -> None:
        self._handle = handle
        self._keep_s = keep_s
        self._known: list[dict[str, Any]] = []
        self._asked_at = self._known_at = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        """Begins to ask where the answer is older than EVERY_S: before a request takes the slot
        that the question needs."""
        if time.monotonic() - self._asked_at >= EVERY_S:
            self._question()
            await asyncio.sleep(0)  # so that it is sent first

    async def describe(self) -> list[dict[str, Any]]:
        """One answer of each replica, about EVERY_S old unless they are full; empty if there is
        none to count on."""
        if time.monotonic() - self._known_at >= EVERY_S:
            patience_s = _PATIENCE_S if self._known else _FIRST_PATIENCE_S
            await asyncio.wait({self._question()}, timeout=patience_s)
        fresh = time.monotonic() - self._known_at < self._keep_s + EVERY_S
        return self._known if fresh else []

    def _question(self) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._answers())
        return self._asking

    async def _answers(self) -> None:
        try:
            response = self._handle.broadcast("describe")
            answers = await asyncio.wait_for(
                response.results_async(return_exceptions=True), self._keep_s
            )
        except TimeoutError:
            return  # silence is no answer: what was known counts until it is too old
        except Exception as error:  # of a deployment without replicas, or of Serve itself
            logger.warning("the replicas could not be asked: %s", type(error).__name__)
            answers = []
        self._known = [answer for answer in answers if isinstance(answer, dict)]
        self._known_at = time.monotonic()
