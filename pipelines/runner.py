"""Runs the steps of a recipe in order, reusing what is done and resuming what was cut off."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nitrogen.pipelines.adoption import Adoption
from nitrogen.pipelines.atomic_json import write_json
from nitrogen.pipelines.context import StepContext
from nitrogen.pipelines.interrupts import interrupts
from nitrogen.pipelines.journal import Journal
from nitrogen.pipelines.plan import Planned, Selection, done_inputs, resolve
from nitrogen.pipelines.progress import RunProgress, make_progress
from nitrogen.pipelines.progress_record import RecordedProgress
from nitrogen.pipelines.recipe import Recipe
from nitrogen.pipelines.remote_folder import open_out
from nitrogen.pipelines.run_folder import RunFolder, StepRecord
from nitrogen.pipelines.run_lock import run_lock
from nitrogen.pipelines.services import RunServices, Services, tracking_uri
from nitrogen.pipelines.step_runs import StepRuns
from nitrogen.pipelines.step_table import STEPS, StepSpec, step_module
from nitrogen.pipelines.summary import StepOutcome, write_summary

if TYPE_CHECKING:
    from nitrogen.platform.mirror import Mirror


@dataclass(frozen=True)
class RunResult:
    """What a run left: the summary's path and, per step, its outcome."""

    summary: Path
    outcomes: Mapping[str, StepOutcome]


def run_recipe(
    recipe: Recipe,
    out: Path | str,
    *,
    selection: Selection | None = None,
    adoption: Adoption | None = None,
    progress: RunProgress | None = None,
    services: Services | None = None,
    steps: Mapping[str, StepSpec] = STEPS,
) -> RunResult:
    """Run a recipe into the folder `out`, or into one that mirrors `out` where that is s3://...

    Raises what a step raises (NitrogenError, ModelError), Interrupted on SIGINT or SIGTERM, and
    LockLostError when another run has taken over the bucket's folder. In every case summary.json
    says how far the run came; running again goes on from there.
    """
    selection = selection or Selection()
    selection.names(steps)  # a wrong step name is an error before anything is written
    root, mirror = open_out(out)
    folder = RunFolder(root)
    folder.create()
    with run_lock(folder.lock_path), interrupts() as stop:
        folder.remove_leftovers()
        progress, services = progress or make_progress(), services or Services()
        with mirror.held(progress.message, stop=stop) if mirror else contextlib.nullcontext():
            run = _Run(recipe, folder, selection, adoption, progress, services, steps, mirror)
            return run.execute()


class _Run:
    """One execution of a recipe: what is done so far, and the services it uses."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        selection: Selection,
        adoption: Adoption | None,
        progress: RunProgress,
        services: Services,
        steps: Mapping[str, StepSpec],
        mirror: Mirror | None = None,
    ) -> None:
        self.recipe, self.folder, self.steps, self.mirror = recipe, folder, steps, mirror
        self.selection, self.adoption = selection, adoption
        self.progress = RecordedProgress(progress, folder.progress_path, folder.log_path)
        self.journal = Journal(folder.journal_path)
        self.services = RunServices(
            openers=services,
            settings=recipe.executor,
            tracking_uri=tracking_uri(recipe, folder.root),
            experiment=recipe.tracking.experiment or recipe.name,
            folder=folder.root,
            say=self.progress.message,
        )
        self.records: dict[str, StepRecord] = {}
        self.outcomes: dict[str, StepOutcome] = {}
        self.shared: dict[str, Any] = {}
        self.runs = StepRuns(recipe, self.services, folder.identity()[:8])

    def execute(self) -> RunResult:
        write_json(self.folder.root / "recipe.json", self.recipe.canonical())
        self.journal.write("run started", recipe=self.recipe.name, digest=self.recipe.digest()[:12])
        started = time.monotonic()
        status, error = "failed", None
        try:
            self._all_steps()
            status = "finished"
        except KeyboardInterrupt as exc:
            status, error = "stopped", str(exc) or "interrupted"
            raise
        except BaseException as exc:
            error = str(exc) or type(exc).__name__
            raise
        finally:
            self._close(status, error, time.monotonic() - started)
        return RunResult(self.folder.summary_path, self.outcomes)

    def _all_steps(self) -> None:
        names = self.selection.names(self.steps)
        for index, name in enumerate(names, 1):
            spec = self.steps[name]
            planned = self._planned(spec, self.selection.forced(name, self.steps))
            self.progress.begin_step(name, index, len(names))
            self._one_step(spec, planned)
        self._note_uncovered(names)

    def _planned(self, spec: StepSpec, forced: bool = False) -> Planned:
        done = {step: record.input_digest for step, record in self.records.items()}
        return resolve(spec, self.recipe, self.folder, done_inputs(spec, done), forced=forced)

    def _one_step(self, spec: StepSpec, planned: Planned) -> None:
        ready = planned.record or self._adopt(spec, planned)
        if ready is not None:
            self._settle(spec.name, ready, "cached", 0.0)
            return
        started = time.monotonic()
        try:
            record = self._work(spec, planned)
        except BaseException as exc:
            state = "stopped" if isinstance(exc, KeyboardInterrupt) else "failed"
            seconds = time.monotonic() - started
            self.outcomes[spec.name] = StepOutcome(planned.key, state, seconds)
            self.journal.write(f"step {state}", step=spec.name, error=str(exc)[:500])
            self.progress.end_step(spec.name, state, seconds)
            raise
        self._settle(spec.name, record, "done", record.seconds)

    def _settle(self, name: str, record: StepRecord, state: str, seconds: float) -> None:
        self._keep(name, record, state, seconds)
        if self.mirror is not None and state == "done":
            # All of it: a marker must not be there before the registry that it speaks of.
            self.mirror.send(self.progress.message)
        self.journal.write(f"step {state}", step=name, key=record.key[:12], seconds=seconds)
        self.progress.end_step(name, state, seconds)

    def _work(self, spec: StepSpec, planned: Planned) -> StepRecord:
        key = planned.key
        if self.selection.forced(spec.name, self.steps):
            self.folder.set_aside(spec.name, key)
        directory, attempt = self.folder.begin(spec.name, key, planned.parts)
        self.journal.write("step started", step=spec.name, key=key[:12], why=planned.why)
        if planned.why:
            self.progress.message(f"{spec.name}: {'; '.join(planned.why[:3])}")
        if spec.uses_ray:
            self.services.need_cluster()
        run_id = self.runs.start(spec.name, key, attempt)
        started = time.monotonic()
        status = "FAILED"
        try:
            config = self.recipe.section(spec.name)
            result = step_module(spec).run(config, self._context(spec, key, directory, run_id))
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self.runs.finish(run_id, status)
        return self.folder.finish(
            spec.name,
            key,
            result,
            seconds=time.monotonic() - started,
            digest_field=spec.digest_field,
            lineage={"inputs": planned.parts["inputs"], "mlflow_run_id": run_id},
        )

    def _context(self, spec: StepSpec, key: str, folder: Path, run_id: str | None) -> StepContext:
        return StepContext(
            dir=folder,
            inputs={need: self.records[need].output() for need in spec.needs},
            tracker=self.services.tracker(),
            progress=self.progress,
            executor=self.recipe.executor.mode,
            run_id=run_id,
            seed=self.recipe.seed,
            settings=self.recipe.executor,
            run_dir=self.folder.root,
            key=key,
            name=self.recipe.name,
            tracking_uri=self.services.tracking_uri,
            shared=self.shared,
            mirror=self.mirror if self.recipe.executor.kind == "address" else None,
        )

    def _adopt(self, spec: StepSpec, planned: Planned) -> StepRecord | None:
        if self.adoption is None or self.selection.forced(spec.name, self.steps):
            return None
        older, changed = self.adoption.find(spec.name, planned.parts)
        if older is None:
            return None
        because = f" ({'; '.join(changed[:3])})" if changed else ""
        self.progress.message(f"{spec.name}: adopted from {older.dir}{because}")
        return self.folder.adopt(older, spec.name, planned.key, planned.parts, changed)

    def _note_uncovered(self, covered: list[str]) -> None:
        """Steps outside this run whose results are at hand belong to the summary too."""
        for name, spec in self.steps.items():
            if name in covered or any(need not in self.records for need in spec.needs):
                continue
            planned = self._planned(spec)
            if planned.record is not None:
                self._keep(name, planned.record, "cached", 0.0)

    def _keep(self, name: str, record: StepRecord, state: str, seconds: float) -> None:
        self.records[name] = record
        lineage = record.marker.get("lineage", {})
        self.outcomes[name] = StepOutcome(
            record.key, state, seconds, record.result, record.dir, lineage, record.seconds
        )

    def _close(self, status: str, error: str | None, seconds: float) -> None:
        """The summary first: services take seconds to end, and who is stopped may have few."""
        ordered = {name: self.outcomes[name] for name in self.steps if name in self.outcomes}
        try:
            write_summary(
                self.folder.summary_path,
                recipe=self.recipe,
                tracking_uri=self.services.tracking_uri,
                outcomes=ordered,
                status=status,
                error=error,
                seconds=seconds,
            )
            self.journal.write(f"run {status}", seconds=round(seconds, 1), error=error)
        finally:
            told = {"finished": "FINISHED", "stopped": "KILLED"}
            self.runs.finish_all(told.get(status, "FAILED"))
            self.services.close()
            self.progress.close()
