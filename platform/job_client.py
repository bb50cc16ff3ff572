"""Ray's job client, with our token, the caller's environment kept out, and errors as sentences."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import urlsplit

from nitrogen.platform.cluster_address import check_listening, explain, first_line, refused
from nitrogen.platform.cluster_auth import FOREIGN, environment, find_token
from nitrogen.platform.errors import ClusterError

PORTS = {"http": 80, "https": 443}


def dashboard_url(address: str) -> str:
    """`http(s)://host:port` of an address that may lack its scheme. Raises ClusterError."""
    url = address if "://" in address else f"http://{address}"
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ClusterError(
            f"address must be that of the cluster's dashboard, got {address}. "
            "Give for example http://10.0.0.1:8265."
        )
    return url.rstrip("/")


def open_client(address: str, token: str | None = None) -> JobClient:
    """A client of the cluster behind a dashboard address, checked to answer and to take the token.

    Raises ClusterError in one sentence, within seconds.
    """
    url = dashboard_url(address)
    parts = urlsplit(url)
    check_listening(f"{parts.hostname}:{parts.port or PORTS[parts.scheme]}")
    return JobClient(url, token or find_token())


class JobClient:
    """The few calls that jobs.py makes."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # RAY_ADDRESS would win over the address that was given here.
        with self._sentences(), environment(dict.fromkeys(FOREIGN)):
            from ray.job_submission import JobSubmissionClient

            for name in ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk"):
                logging.getLogger(name).setLevel(logging.WARNING)
            self._client = JobSubmissionClient(url, headers=headers)
            # The version, which the constructor asks for, is told to anyone; the jobs are not.
            self._client.list_jobs()

    def submit(self, **job: Any) -> bool:
        """Submit; False when another submitter was first with the same id."""
        try:
            with self._sentences():
                self._client.submit_job(**job)
        except ClusterError as error:
            if "already exists" in str(error.__cause__):
                return False
            raise
        return True

    def all(self) -> list[Any]:
        with self._sentences():
            return [info for info in self._client.list_jobs() if info.submission_id]

    def info(self, job_id: str) -> Any:
        with self._sentences():
            return self._client.get_job_info(job_id)

    def logs(self, job_id: str) -> str:
        with self._sentences():
            return self._client.get_job_logs(job_id)

    async def tail(self, job_id: str) -> AsyncGenerator[str]:
        async for piece in self._client.tail_job_logs(job_id):
            yield piece

    def stop(self, job_id: str) -> None:
        with self._sentences():
            self._client.stop_job(job_id)

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except ClusterError:
            raise
        except Exception as error:  # boundary: requests, aiohttp and Ray errors alike
            if "status code 40" in str(error) and "oken" in str(error):
                raise refused(self.url) from error
            if isinstance(error, RuntimeError):
                raise ClusterError(
                    f"the cluster at {self.url} refused the request ({first_line(error)[:200]}). "
                    "Check the recipe and the cluster's version of Ray."
                ) from error
            raise explain(error, self.url) from error
