"""Recipes as jobs on a cluster: what `nitrogen submit`, and the others with --address, do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nitrogen.pipelines.recipe import load_recipe
from nitrogen.pipelines.remote_folder import check_bucket
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.storage_uris import is_s3

REMOTE_RUNS = "~/nitrogen-runs"


def submit_recipe(
    name: str,
    address: str,
    out: str | None,
    overrides: list[str],
    *,
    wheel: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Submit the resolved recipe; the same recipe is the same job.

    `extends:` and `--set` are resolved here, so that the cluster needs no file of this machine.
    Raises ConfigError for the recipe, ClusterError for the cluster, StorageError for the wheel.
    """
    from nitrogen.platform import jobs

    recipe = load_recipe(name, overrides).recipe
    text = json.dumps(recipe.canonical(), indent=2, sort_keys=True) + "\n"  # JSON is YAML
    folder = out or f"{REMOTE_RUNS}/{recipe.name}"
    if "://" in folder and not is_s3(folder):
        raise ConfigError(
            f"--out must be s3://bucket/run, or a folder on storage that the nodes share, got "
            f"{folder}. Give one of these."
        )
    if is_s3(folder):
        check_bucket(folder)
    with tempfile.TemporaryDirectory(prefix="nitrogen-wheel-") as scratch:
        job = jobs.submit(
            text,
            address=address,
            wheel=wheel or package_to_ship(Path(scratch)),
            name=recipe.name,
            out=folder,
            force=force,
        )
    return {**_row(job), "out": job.out or folder}  # a run that is there already has its own


def package_to_ship(scratch: Path) -> Path:
    """A wheel built from the checkout, or the folder that holds the installed package."""
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        from nitrogen.platform.wheel import build_wheel

        return build_wheel(root, scratch)
    return root.parent


def job_status(job: str, address: str) -> dict[str, Any]:
    """The newest attempt of a job."""
    from nitrogen.platform import jobs

    return _row(jobs.status(address, job))


def all_jobs(address: str) -> list[dict[str, Any]]:
    """Every submitted recipe, newest first."""
    from nitrogen.platform import jobs

    return [_row(job) for job in jobs.list_jobs(address)]


def job_logs(job: str, address: str, *, follow: bool, tail: int | None) -> Iterator[str]:
    """Lines that a job printed; with `follow` until its end."""
    from nitrogen.platform import jobs

    torn = ""
    if not follow:
        lines = "".join(jobs.logs(address, job)).splitlines()
        yield from (lines[-tail:] if tail else [] if tail == 0 else lines)
        return
    for piece in jobs.logs(address, job, follow=True):
        *whole, torn = (torn + piece).split("\n")
        yield from whole
    if torn:
        yield torn


def stop_job(job: str, address: str) -> dict[str, Any]:
    """Stop a job and wait for its end."""
    from nitrogen.platform import jobs

    return _row(jobs.stop(address, job))


def _row(job: Any) -> dict[str, Any]:
    row = asdict(job)
    return {"job": row.pop("id"), "state": row.pop("status").lower(), **row}
