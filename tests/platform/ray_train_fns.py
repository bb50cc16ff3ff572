"""Training functions that Ray workers import in the tests of Ray Train."""

import tempfile
import time
from pathlib import Path

import torch
from torch import distributed


def linear(config, session):
    """A linear model by DDP and Adam; the batch of a step depends on the step alone."""
    model = torch.nn.Linear(8, 1)
    with torch.no_grad():
        model.weight.fill_(0.1)
        model.bias.zero_()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    step = 0
    if latest := session.latest_checkpoint():
        state = torch.load(latest / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    parallel = torch.nn.parallel.DistributedDataParallel(model) if session.world_size > 1 else model
    while step < config["steps"]:
        inputs = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        mine = inputs[session.rank :: session.world_size]
        loss = (parallel(mine) - mine.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        time.sleep(config.get("sleep_s", 0))
        metrics = {"step": step, "loss": loss.item(), "threads": torch.get_num_threads()}
        if step % config["every"] and step < config["steps"]:
            session.report(metrics)
            continue
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            if session.rank == 0:
                torch.save(state, Path(folder) / "state.pt")
            session.report(metrics, Path(folder) if session.rank == 0 else None)


def facts(config, session):
    """Reports what a worker sees."""
    import os
    import platform

    assert platform.system()
    assert distributed.is_initialized()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "facts.txt").write_text(
            f"{os.environ.get('NITROGEN_TEST')} {distributed.get_backend()} {os.getcwd()}"
        )
        session.report(
            {"world_size": session.world_size}, Path(folder) if session.rank == 0 else None
        )


def mistaken(config, session):
    """Fails as a training does that was given a bad value."""
    from nitrogen.platform.errors import DataError

    raise DataError("data must exist, got nothing. Prepare it first.")


def broken(config, session):
    """Fails as a training does that has a bug."""
    raise ZeroDivisionError("a bug")
