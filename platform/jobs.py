"""A recipe as a Ray job: submit, status, logs, stop.

What travels is the unpacked wheel and the recipe, never the working tree. Ray would install a
`.whl` in `py_modules` together with all its dependencies; the unpacked folder needs neither pip nor
a network on nodes that have the dependencies already. Secrets do not travel either: Ray shows a
job's environment to everyone who may see the job, so nodes bring their own credentials.

The id of a job comes from its recipe, so submitting the same recipe twice is one run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.platform.errors import ClusterError
from nitrogen.platform.job_client import JobClient, open_client
from nitrogen.platform.wheel import tree_digest, unpack_wheel

ENTRY_MODULE = "nitrogen.pipelines.cli"
RECIPE_NAME = "recipe.yaml"
FORWARDED = ("MLFLOW_", "AWS_", "NITROGEN_")
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|ACCESS_KEY|API_KEY|PRIVATE")
ALIVE = ("PENDING", "RUNNING")
FINAL = ("SUCCEEDED", "FAILED", "STOPPED")
# Between SIGTERM and SIGKILL; Ray's 3 s may end while a run still imports what it needs.
STOP_PATIENCE_S = "30"


@dataclass(frozen=True)
class Job:
    """A submitted recipe. `created` is False when the same run was there already."""

    id: str
    status: str
    message: str = ""
    created: bool = False
    recipe: str = ""
    out: str = ""
    start_time: float | None = None
    end_time: float | None = None
    exit_code: int | None = None


def submission_id(recipe: str, overrides: Sequence[str] = (), name: str = "run") -> str:
    """`<name>-<12 hex>`, from the recipe's text and the set of its overrides."""
    canonical = json.dumps([recipe, sorted(overrides)]).encode()
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40] or "run"
    return f"{slug}-{hashlib.sha256(canonical).hexdigest()[:12]}"


def public_environment(source: Mapping[str, str]) -> dict[str, str]:
    """The variables that a job gets from here: ours, MLflow's and AWS's, without the secrets."""
    return {
        name: value
        for name, value in source.items()
        if name.startswith(FORWARDED) and not SECRET.search(name) and "@" not in value
    }


def entrypoint(
    overrides: Sequence[str], out: str | None, python: str = "python", module: str = ENTRY_MODULE
) -> str:
    """The command that a node runs: the recipe on the cluster that the job is part of."""
    words = [python, "-m", module, "run", RECIPE_NAME]
    for override in (*overrides, "executor.kind=address", "executor.address=auto"):
        words += ["--set", override]
    if out is not None:
        words += ["--out", out]
    return shlex.join(words)


def submit(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    address: str,
    wheel: Path | str,
    name: str = "run",
    token: str | None = None,
    out: str | None = None,
    environment: Mapping[str, str] | None = None,
    command: str | None = None,
    force: bool = False,
) -> Job:
    """Submit a recipe, or find the run of it that is pending, running or done.

    A run that failed or was stopped is submitted again under the next number and resumes; so is a
    finished one if the code has changed since, or with `force`.

    Args:
        recipe: text of the recipe; nothing in it may point to a file of this machine.
        overrides: "dotted.key=value", as for `nitrogen run --set`.
        address: of the dashboard, http(s)://host:8265 or host:8265.
        wheel: the built wheel, or a folder with a `nitrogen/` tree.
        token: by default what Ray's own tools would use.
        out: run folder on the cluster, on storage that its nodes share.
        environment: variables of the job, by default `public_environment(os.environ)`.
        command: what the node runs instead of `nitrogen run`.

    Raises ClusterError in one sentence (dead address, refused token), StorageError for the wheel.
    """
    import os

    client = open_client(address, token)
    base = submission_id(recipe, overrides, name)
    variables = public_environment(os.environ) if environment is None else dict(environment)
    with tempfile.TemporaryDirectory(prefix="ng-submit-") as scratch:
        package = unpack_wheel(Path(wheel), Path(scratch) / "code")
        code = tree_digest(package)
        attempts = _attempts(client, base)
        if attempts and not _again(attempts[-1], code, force):
            return _job(attempts[-1])
        folder = Path(scratch) / "recipe"
        folder.mkdir()
        (folder / RECIPE_NAME).write_text(recipe, encoding="utf-8")
        number = len(attempts) + 1
        new_id = base if number == 1 else f"{base}-{number}"
        created = client.submit(
            entrypoint=command or entrypoint(overrides, out),
            submission_id=new_id,
            runtime_env={
                "working_dir": str(folder),
                "py_modules": [str(package)],
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_PATIENCE_S, **variables},
            },
            metadata={
                "nitrogen.recipe": name,
                "nitrogen.code": code,
                "nitrogen.base": base,
                "nitrogen.out": out or "",
            },
        )
    info = client.info(new_id)
    return _job(info, created=created)


def status(address: str, job_id: str, token: str | None = None) -> Job:
    """The newest attempt of a job. Raises ClusterError when there is none of this id."""
    return _job(_newest(open_client(address, token), job_id))


def list_jobs(address: str, token: str | None = None) -> list[Job]:
    """All recipes that were submitted to the cluster, newest first."""
    jobs = [info for info in open_client(address, token).all() if _is_ours(info)]
    return [_job(info) for info in sorted(jobs, key=lambda i: i.start_time or 0, reverse=True)]


def logs(
    address: str, job_id: str, *, follow: bool = False, token: str | None = None
) -> Iterator[str]:
    """Pieces of what a job has printed; with `follow`, up to its end."""
    client = open_client(address, token)
    found = _newest(client, job_id).submission_id
    if not follow:
        yield client.logs(found)
        return
    with asyncio.Runner() as runner:
        lines = client.tail(found)
        while True:
            try:
                yield runner.run(lines.__anext__())
            except StopAsyncIteration:
                return
            except (RuntimeError, OSError) as error:
                raise ClusterError(
                    f"the connection to {address} broke while following {found}. "
                    "Run `nitrogen logs -f` again; the job itself goes on."
                ) from error


def stop(address: str, job_id: str, *, token: str | None = None, timeout_s: float = 60.0) -> Job:
    """Stop a job and wait until it has ended; one that has ended already is returned as it is."""
    client = open_client(address, token)
    info = _newest(client, job_id)
    if str(info.status.value) in FINAL:
        return _job(info)
    client.stop(info.submission_id)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        info = client.info(info.submission_id)
        if str(info.status.value) in FINAL:
            return _job(info)
        time.sleep(0.3)
    raise ClusterError(
        f"job {info.submission_id} must end within {timeout_s:g} s of its stop, but still runs. "
        "Try again, or look at the cluster's dashboard."
    )


def _again(newest: Any, code: str, force: bool) -> bool:
    """Whether the newest attempt calls for another one."""
    state = str(newest.status.value)
    if state in ALIVE:
        return False
    changed = (newest.metadata or {}).get("nitrogen.code") != code
    return force or state != "SUCCEEDED" or changed


def _attempts(client: JobClient, base: str) -> list[Any]:
    """Jobs `base`, `base-2`, `base-3` ..., in order."""
    numbered = []
    for info in client.all():
        match = re.fullmatch(re.escape(base) + r"(?:-(\d+))?", info.submission_id or "")
        if match:
            numbered.append((int(match.group(1) or 1), info))
    return [info for _, info in sorted(numbered, key=lambda pair: pair[0])]


def _newest(client: JobClient, job_id: str) -> Any:
    attempts = _attempts(client, job_id)
    if attempts:
        return attempts[-1]
    known = [info.submission_id for info in client.all() if _is_ours(info)]
    raise ClusterError(
        f"the cluster must know the job, got {job_id}. Its jobs: {', '.join(known[-5:]) or 'none'}."
    )


def _is_ours(info: Any) -> bool:
    return bool(info.submission_id) and "nitrogen.base" in (info.metadata or {})


def _job(info: Any, created: bool = False) -> Job:
    def seconds(milliseconds: int | None) -> float | None:
        return milliseconds / 1000 if milliseconds else None

    return Job(
        id=info.submission_id,
        status=str(info.status.value),
        message=(info.message or "").strip(),
        created=created,
        recipe=(info.metadata or {}).get("nitrogen.recipe", ""),
        out=(info.metadata or {}).get("nitrogen.out", ""),
        start_time=seconds(info.start_time),
        end_time=seconds(info.end_time),
        exit_code=info.driver_exit_code,
    )
