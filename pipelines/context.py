"""What a step is given beside its config, and what it sees of the steps before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nitrogen.pipelines.executor import ExecutorConfig

if TYPE_CHECKING:
    from nitrogen.platform.mirror import Mirror


class Progress(Protocol):
    """Where a step reports; cheap enough to call at every training step."""

    def update(
        self,
        *,
        step: int | None = None,
        total: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Step `step` of `total` is done; metrics such as loss, images_per_s are shown."""

    def message(self, text: str) -> None:
        """One line that stays on the screen."""


class SilentProgress:
    """A Progress that shows nothing, for tests and library use."""

    def update(
        self,
        *,
        step: int | None = None,
        total: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        return None

    def message(self, text: str) -> None:
        return None


class StepOutput(dict[str, Any]):
    """The dict an earlier step returned; `Path(output)` and `output.dir` are its directory."""

    def __init__(self, directory: Path, result: Mapping[str, Any], key: str = "") -> None:
        super().__init__(result)
        self.dir = directory
        self.key = key

    def __fspath__(self) -> str:
        return str(self.dir)


@dataclass(frozen=True)
class StepContext:
    """Everything outside its config that a step may read.

    dir       the step's own directory; everything it writes lies here
    inputs    for each earlier step (of `needs`): its returned dict, with `.dir` its directory
    tracker   nitrogen.platform.tracking.Tracker, or None
    progress  Progress
    executor  "local" or "ray"; with "ray" the cluster is already connected
    run_id    the MLflow run of this step, created before it starts; None without a tracker
    seed      the recipe's seed
    settings  the recipe's whole executor section (num_workers, device, precision, use_gpu)
    run_dir   the run folder DIR
    key       the step's key (sha256, hex): the name of its training and sweep runs
    name      the recipe's name
    tracking_uri  MLflow tracking and registry URI of this run
    shared    values that live as long as the process (for example a loaded model)
    mirror    of a run folder in a bucket that a cluster's workers read; None: they share the disk
    """

    dir: Path
    inputs: Mapping[str, StepOutput] = field(default_factory=dict)
    tracker: Any = None
    progress: Progress = field(default_factory=SilentProgress)
    executor: str = "local"
    run_id: str | None = None
    seed: int = 0
    settings: ExecutorConfig = field(default_factory=lambda: ExecutorConfig(kind="local"))
    run_dir: Path = Path()
    key: str = ""
    name: str = ""
    tracking_uri: str | None = None
    shared: dict[str, Any] = field(default_factory=dict)
    mirror: Mirror | None = None

    def for_workers(self, path: Path | str) -> str:
        """Where the workers of a cluster find a file or folder of this run (or a URI)."""
        if self.mirror is not None:
            return self.mirror.share(path)
        return str(path) if "://" in str(path) else str(Path(path).absolute())

    def of_workers(self, name: str) -> str:
        """A folder or URI of this step's own that workers may write to, the same after a resume."""
        if self.mirror is not None:
            return self.mirror.apart(f"{self.dir.name}/{name}")
        return str(Path(self.dir).absolute() / name)
