"""The arms of the ablation: the training of the student with one part left out, kept by key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nitrogen.model.config_file import CONFIG, write_prices
from nitrogen.model.model_directory import WEIGHTS
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.prices import measure_prices
from nitrogen.pipelines.bench.forecast import Say
from nitrogen.pipelines.bench.row_store import row_key
from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.steps.distill import TRAIN_FN, save_student
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.training import run_local

WHOLE, INSTANT = "everything", "no stride"
# What each arm leaves out. Without a teacher nothing is known of where a whole step lands.
PARTS: dict[str, dict[str, Any]] = {
    "no distillation": {"distilled": False, "strided": False},
    "no same-noise sandwich": {"same_noise": False},
    "no stale-cache roll-outs": {"rollout_steps": 0},
    "no on-policy plans": {"on_policy_share": 0.0},
    "no penalty": {"gating_penalty": 0.0},
}


@dataclass(frozen=True)
class Arm:
    """against: the arm that has what this one leaves out; None for the first."""

    name: str
    student: StudentConfig
    against: str | None

    def changed(self, whole: StudentConfig) -> dict[str, Any]:
        """Keys of distill.student whose values are not those of the first arm."""
        mine, theirs = self.student.model_dump(mode="json"), whole.model_dump(mode="json")
        return {name: value for name, value in mine.items() if value != theirs[name]}


def arms_of(student: StudentConfig, only: Sequence[str] = ()) -> list[Arm]:
    """The arms of a recipe's student, the whole one first; what it does without is no arm.

    only: names of arms, kept with those that they are compared with. Raises ConfigError.
    """
    found = {WHOLE: Arm(WHOLE, student, None)}
    if student.strided:
        found[INSTANT] = Arm(INSTANT, without(student, {"strided": False}), WHOLE)
    for name, update in PARTS.items():
        against = found.get(INSTANT, found[WHOLE]) if "strided" in update else found[WHOLE]
        arm = Arm(name, without(student, update), against.name)
        if arm.student != against.student:
            found[name] = arm
    unknown = [name for name in only if name not in found]
    if unknown:
        raise ConfigError(
            f"--arm must be one of {', '.join(found)}, got {unknown[0]}. Correct the name."
        )
    wanted = {WHOLE, *only} if only else set(found)
    wanted |= {other for name in wanted if (other := found[name].against) is not None}
    return [arm for arm in found.values() if arm.name in wanted]


def without(student: StudentConfig, update: dict[str, Any]) -> StudentConfig:
    return StudentConfig(**(student.model_dump() | update))


def shortened(optim: OptimConfig, num_images: int) -> OptimConfig:
    """The same optimisation over fewer pictures: warm-up and averaging shrink with it."""
    share = min(1.0, num_images / optim.num_images)
    update = {
        "num_images": num_images,
        "warmup_images": round(share * optim.warmup_images),
        "ema_halflife_images": max(optim.batch_size, share * optim.ema_halflife_images),
    }
    return OptimConfig(**(optim.model_dump() | update))


@dataclass(frozen=True)
class Trainer:
    """All that arms share. teacher: its model directory; num_steps: of the pictures that prices
    are measured for; facts: digests of teacher and data; folder: where arms are kept."""

    teacher: Path
    data_uri: str
    optim: OptimConfig
    num_steps: int
    seed: int
    precision: str
    facts: dict[str, Any]
    folder: Path
    say: Say
    relay: dict[str, Any] | None = None  # whose strides are among the roll-outs of strided arms

    def key(self, arm: Arm) -> str:
        described = {
            "student": arm.student.model_dump(mode="json"),
            "optim": self.optim.model_dump(mode="json"),
            "seed": self.seed, "precision": self.precision, "steps": self.num_steps,
            "relay": self._relay_of(arm),
        }  # fmt: skip
        return row_key(described, self.facts | {"code": code_digests(__name__)})

    def _relay_of(self, arm: Arm) -> dict[str, Any] | None:
        return self.relay if arm.student.strided else None

    def trained(self, arm: Arm) -> Path:
        """The arm's model directory: found, or trained on from where it was cut off."""
        folder = self.folder / self.key(arm)
        student, arriving = folder / "student", folder / "student.partial"
        if not student.is_dir():
            self._train(arm, folder / "training", arriving)
            pipeline = Pipeline.load(arriving)
            assert pipeline.predictor is not None, "a student has a predictor"
            self.say(f"{arm.name}: prices")
            prices = measure_prices(pipeline.denoiser, pipeline.predictor, [self.num_steps])
            write_prices(arriving, prices)
            arriving.rename(student)
            shutil.rmtree(folder / "training")
        return student

    def _train(self, arm: Arm, run_dir: Path, out: Path) -> None:
        described = json.loads((self.teacher / CONFIG).read_text())
        config = {
            "arch": described["arch"], "student": arm.student.model_dump(mode="json"),
            "optim": self.optim.model_dump(mode="json"), "data_uri": self.data_uri,
            "seed": self.seed, "precision": self.precision,
            "teacher": str(self.teacher / WEIGHTS), "relay": self._relay_of(arm),
        }  # fmt: skip
        self.say(f"{arm.name}: {self.optim.num_images:,} images to train on")
        result = run_local(TRAIN_FN, config, run_dir, partial(self._show, arm))
        save_student(described, arm.student, result.checkpoint, out)

    def _show(self, arm: Arm, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        if event.get("checkpoint"):
            left = metrics.get("seconds_left", 0.0) / 60
            self.say(f"{arm.name}: {metrics['images']:,} images, {left:.0f} min of this arm left")
