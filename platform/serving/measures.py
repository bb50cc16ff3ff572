"""Counters of the endpoint in Prometheus' text format; labels are few and never from a client."""

import threading
from collections import Counter
from typing import Any

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class RequestMeasures:
    """Requests by status, their duration, pictures made, GFLOPs spent, and the steps that a model
    had to plan by its fallback, since the start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._buckets = [0] * len(_SECONDS)
        self._seconds = 0.0
        self._images = 0
        self._gflops = {"spent": 0.0, "full": 0.0}
        self._fallbacks = 0

    def count(
        self, status: str, seconds: float, images: list[dict[str, Any]] | None = None
    ) -> None:
        """One finished request; `images` are those of a successful one."""
        with self._lock:
            self._requests[status] += 1
            self._seconds += seconds
            for index, bound in enumerate(_SECONDS):
                self._buckets[index] += seconds <= bound
            for image in images or ():
                self._images += 1
                self._gflops["spent"] += float(image["metrics"].get("gflops") or 0.0)
                self._gflops["full"] += float(image["metrics"].get("gflops_full") or 0.0)
                self._fallbacks += int(image["metrics"].get("fallbacks") or 0)

    def render(self) -> str:
        with self._lock:
            total = sum(self._requests.values())
            lines = ["# TYPE nitrogen_requests_total counter"]
            for status, number in sorted(self._requests.items()):
                lines.append(f'nitrogen_requests_total{{status="{status}"}} {number}')
            lines.append("# TYPE nitrogen_request_seconds histogram")
            for bound, number in zip(_SECONDS, self._buckets, strict=True):
                lines.append(f'nitrogen_request_seconds_bucket{{le="{bound:g}"}} {number}')
            lines += [
                f'nitrogen_request_seconds_bucket{{le="+Inf"}} {total}',
                f"nitrogen_request_seconds_sum {self._seconds:.6f}",
                f"nitrogen_request_seconds_count {total}",
                "# TYPE nitrogen_images_total counter",
                f"nitrogen_images_total {self._images}",
                "# TYPE nitrogen_gflops_total counter",
                f'nitrogen_gflops_total{{kind="spent"}} {self._gflops["spent"]:.6f}',
                f'nitrogen_gflops_total{{kind="full"}} {self._gflops["full"]:.6f}',
                "# TYPE nitrogen_fallbacks_total counter",
                f"nitrogen_fallbacks_total {self._fallbacks}",
            ]
        return "\n".join(lines) + "\n"
