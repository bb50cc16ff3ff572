"""The training loop that both stages share: teacher pretraining and student distillation."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nitrogen.model.ema import EMA, ema_decay
from nitrogen.pipelines.data.loader import ShardDataset
from nitrogen.pipelines.precision import autocast, check_device
from nitrogen.pipelines.training.config import OptimConfig
from nitrogen.pipelines.training.optimizer import build_optimizers, set_learning_rate
from nitrogen.pipelines.training.state import TrainState, load_state, save_state
from nitrogen.platform.errors import TrainingError
from nitrogen.platform.training import TrainSession

LOG_EVERY = 25  # steps between reports without a checkpoint


class Task(nn.Module):
    """What a stage adds to the loop: a module whose forward is the loss of one batch.

    forward(x_0 [b, h, w, c], labels [b], noise generator, progress in 0..1) -> (loss, parts).
    `trained` holds the parameters that are optimised and averaged.
    """

    trained: nn.Module

    def preview(self, average: dict[str, Tensor], path: Path) -> None:
        """Draws samples of the averaged weights into a PNG."""
        raise NotImplementedError


def train(
    task: Task,
    config: OptimConfig,
    data_uri: str,
    seed: int,
    precision: str,
    session: TrainSession,
) -> None:
    """Runs to `num_images`, resuming from the session's newest checkpoint.

    Batches and noise are keyed by (seed, step, rank): a resumed run sees what it would have seen.
    Raises TrainingError when the loss is no longer finite.
    """
    check_device(session.device)
    data = ShardDataset(data_uri, "train")
    task.to(session.device)
    optimizers = build_optimizers(task.trained, config)
    ema, state = EMA(task.trained), TrainState()
    newest = session.latest_checkpoint()
    if newest is not None:
        state = load_state(newest, task.trained, ema, optimizers)
    loss_module = wrap(task, session)
    clock, total = Clock(config.checkpoint_interval_s, state.seconds), num_steps(config)
    means = RunningMeans()
    for step in range(state.step, total):
        set_learning_rate(optimizers, config, step)
        with autocast(session.device, precision):
            loss, metrics = loss_module(*batch(data, config, seed, step, session), step / total)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.trained.parameters(), config.gradient_clip)
        for optimizer in optimizers:
            optimizer.step()
        images = (step + 1) * config.batch_size
        decay = ema_decay(images, config.batch_size, config.ema_halflife_images)
        ema.update(task.trained, decay)
        means.add(loss, metrics)
        last = step + 1 == total
        due = last or agree(clock.due() or session.should_stop(), session)
        if due or (step + 1) % LOG_EVERY == 0:
            state = TrainState(step + 1, images, clock.seconds())
            values = means.take(step) | state_metrics(state, total, clock, config)
            report(session, values, due, task, state, ema, optimizers)
            clock.restart_if(due)
            if due and not last and agree(session.should_stop(), session):
                return


def batch(
    data: ShardDataset, config: OptimConfig, seed: int, step: int, session: TrainSession
) -> tuple[Tensor, Tensor, torch.Generator]:
    """x_0 in [-1, 1] [b, h, w, c], labels [b], and the noise generator of this step and rank."""
    images, labels = data.batch(
        seed, step, config.batch_size, rank=session.rank, world_size=session.world_size
    )
    x_0 = torch.from_numpy(images).to(session.device).float() / 127.5 - 1
    noise = torch.Generator().manual_seed(noise_seed(seed, step, session.rank))
    return x_0, torch.from_numpy(labels).to(session.device), noise


def noise_seed(seed: int, step: int, rank: int) -> int:
    """One number below 2^63 for each (seed, step, rank)."""
    words = np.random.SeedSequence([seed, step, rank]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def wrap(task: Task, session: TrainSession) -> nn.Module:
    """The task itself, or under DDP when there are several workers."""
    if session.world_size == 1:
        return task
    return DistributedDataParallel(task, broadcast_buffers=False)


def agree(flag: bool, session: TrainSession) -> bool:
    """Rank 0's decision, for every rank: clocks differ, and reports are barriers."""
    if session.world_size == 1:
        return flag
    decision = torch.tensor([int(flag)], device=session.device)
    torch.distributed.broadcast(decision, src=0)
    return bool(decision.item())


def report(
    session: TrainSession,
    metrics: dict[str, float],
    with_checkpoint: bool,
    task: Task,
    state: TrainState,
    ema: EMA,
    optimizers: list[torch.optim.Optimizer],
) -> None:
    if not with_checkpoint or session.rank != 0:
        session.report(metrics, None)
        return
    with tempfile.TemporaryDirectory(prefix="nitrogen-") as directory:
        task.preview(ema.average, Path(directory) / "samples.png")
        save_state(Path(directory), state, task.trained, ema, optimizers)
        session.report(metrics, Path(directory))


def num_steps(config: OptimConfig) -> int:
    return -(-config.num_images // config.batch_size)


def state_metrics(
    state: TrainState, total: int, clock: "Clock", config: OptimConfig
) -> dict[str, float]:
    rate = clock.rate(state.num_images)
    return {
        "step": state.step,
        "total_steps": total,
        "images": state.num_images,
        "images_per_s": rate,
        "seconds_left": (config.num_images - state.num_images) / max(rate, 1e-9),
    }


class RunningMeans:
    """Means of the loss and of what the task reports, since they were last taken."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, loss: Tensor, metrics: dict[str, Tensor]) -> None:
        for name, value in {"loss": loss, **metrics}.items():
            self._values.setdefault(name, []).append(value.detach())

    def take(self, step: int) -> dict[str, float]:
        """Raises TrainingError if the loss is not finite."""
        means = {name: float(torch.stack(v).float().mean()) for name, v in self._values.items()}
        self._values.clear()
        if not torch.isfinite(torch.tensor(means["loss"])):
            raise TrainingError(
                f"loss must be finite, got {means['loss']} at step {step}. Lower "
                "learning_rate or use precision fp32, then run again: the last checkpoint is kept."
            )
        return means


class Clock:
    """Seconds of training over all its runs, and when the next checkpoint is due."""

    def __init__(self, interval_s: float, seconds_before: float):
        self._start, self._before = time.monotonic(), seconds_before
        self._interval, self._last = interval_s, time.monotonic()
        self._window: tuple[float, int] | None = None

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def due(self) -> bool:
        # 0.8: the step that runs and the writing itself count towards the interval too.
        return time.monotonic() - self._last >= 0.8 * self._interval

    def restart_if(self, done: bool) -> None:
        if done:
            self._last = time.monotonic()

    def rate(self, num_images: int) -> float:
        """Images per second since the last call."""
        now, before = time.monotonic(), self._window
        self._window = (now, num_images)
        if before is None:
            return num_images / max(self.seconds(), 1e-9)
        return (num_images - before[1]) / max(now - before[0], 1e-9)
