"""Taking over results of an older run folder, on the user's word, with the lineage kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nitrogen.pipelines.keys import KeyParts, explain
from nitrogen.pipelines.run_folder import RunFolder, StepRecord
from nitrogen.pipelines.step_table import STEPS, StepSpec
from nitrogen.platform.errors import ConfigError

# Equal in these, two results differ at most by code and libraries. The inputs must be the very
# results that stand before the step in this run: a chain of adopted steps stays one chain.
_MEANING = ("config", "seed", "executor", "outside", "inputs")


@dataclass(frozen=True)
class Adoption:
    """An older run folder whose results may be taken over.

    steps: these are taken whatever changed since. Empty: only results with the same config, seed,
    executor, source and inputs, that is where nothing but code or libraries changed.
    """

    folder: Path
    steps: tuple[str, ...] = ()

    def find(self, step: str, parts: KeyParts) -> tuple[StepRecord | None, list[str]]:
        """The newest older result that may stand for these key parts, and what changed since."""
        if self.steps and step not in self.steps:
            return None, []
        for record in RunFolder(self.folder).records(step):
            old = record.parts()
            if self.steps or _same_meaning(old, parts):
                return record, explain(old, parts)
        return None, []


def _same_meaning(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(old) and all(old.get(name) == new.get(name) for name in _MEANING)


def parse_adoption(text: str, out: Path, steps: Mapping[str, StepSpec] = STEPS) -> Adoption:
    """`RUN` or `RUN:STEP,STEP` as an Adoption; ConfigError when there is nothing to adopt."""
    folder, _, names = text.rpartition(":")
    wanted = tuple(name.strip() for name in names.split(","))
    if not folder or any(name not in steps for name in wanted):
        folder, wanted = text, ()
    older = RunFolder(Path(folder))
    if older.root == RunFolder(out).root or not older.steps.is_dir():
        raise ConfigError(
            f"--adopt must name another run folder, got {text}. "
            "Give the --out of an earlier run, or RUN:STEP,STEP to insist on steps."
        )
    return Adoption(older.root, wanted)
