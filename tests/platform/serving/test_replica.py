"""A replica without Ray: swaps, keeps the old model on failure, stops in time."""

import asyncio
import time
from dataclasses import asdict
from pathlib import Path

import fake_generator
import pytest

from nitrogen.platform.bundles import verify_bundle
from nitrogen.platform.errors import BundleError, ServingError
from nitrogen.platform.serving.protocol import parse_request
from nitrogen.platform.serving.replica import ModelRef, Replica, fetch_bundle, load_model

LOAD = "fake_generator:load_generator"


def reference(directory: Path, version: str, **config) -> ModelRef:
    bundle = fake_generator.make_bundle(directory, **config)
    return ModelRef("m", version, verify_bundle(bundle), str(bundle))


def config(model: ModelRef, fallback: ModelRef | None = None) -> dict:
    return {"model": asdict(model), "fallback": asdict(fallback) if fallback else None}


def request(**body) -> dict:
    return parse_request({"class": "cat", "seed": 1, **body}).for_generator()


def test_generates_and_swaps(tmp_path):
    async def scenario():
        replica = Replica(LOAD)
        with pytest.raises(ServingError):
            replica.check_health()
        await replica.reconfigure(config(reference(tmp_path / "a", "1", color=(255, 0, 0))))
        replica.check_health()
        red = await replica.generate(request(n=2, seed=2**63 - 1), 10.0)
        assert [image["seed"] for image in red["images"]] == [2**63 - 1, 0]
        assert red["model"]["version"] == "1"
        assert "source" not in red["model"]
        await replica.reconfigure(config(reference(tmp_path / "b", "2", color=(0, 255, 0))))
        green = await replica.generate(request(seed=2**63 - 1), 10.0)
        assert green["model"]["version"] == "2"
        assert green["images"][0]["png"] != red["images"][0]["png"]
        assert (await replica.describe())["rejected"] is None

    asyncio.run(scenario())


@pytest.mark.parametrize("damage", ["corrupted", "self-test", "gone", "digest"])
def test_bad_model_is_reported_and_the_old_one_stays(tmp_path, damage):
    async def scenario():
        replica = Replica(LOAD)
        old = reference(tmp_path / "a", "1")
        await replica.reconfigure(config(old))
        new = reference(tmp_path / "b", "2", broken=damage == "self-test")
        if damage == "corrupted":
            (tmp_path / "b" / "config.json").write_text("{}")
        elif damage == "gone":
            new = ModelRef("m", "2", new.digest, str(tmp_path / "nowhere"))
        elif damage == "digest":
            new = ModelRef("m", "2", "0" * 64, new.source)
        for fallback in (None, old):  # a running replica never dies of it: it has a model
            await replica.reconfigure(config(new, fallback))
        described = await replica.describe()
        assert described["model"]["version"] == "1"
        assert described["rejected"]["version"] == "2"
        assert described["rejected"]["reason"]
        assert (await replica.generate(request(), 10.0))["model"]["version"] == "1"
        # A replica that starts now, with nothing loaded, takes the fallback or does not start.
        late = Replica(LOAD)
        await late.reconfigure(config(new, fallback=old))
        assert (await late.describe())["model"]["version"] == "1"
        with pytest.raises(ServingError):
            await Replica(LOAD).reconfigure(config(new))
        # Back at the old version, nothing is reported any more.
        await replica.reconfigure(config(old))
        assert (await replica.describe())["rejected"] is None

    asyncio.run(scenario())


def test_running_request_finishes_on_the_model_it_began_with(tmp_path):
    async def scenario():
        replica = Replica(LOAD)
        await replica.reconfigure(config(reference(tmp_path / "a", "1", step_ms=20)))
        task = asyncio.create_task(replica.generate(request(num_inference_steps=20), 10.0))
        await asyncio.sleep(0.05)
        await replica.reconfigure(config(reference(tmp_path / "b", "2")))
        assert not task.done()
        assert (await replica.generate(request(), 10.0))["model"]["version"] == "2"
        assert (await task)["model"]["version"] == "1"

    asyncio.run(scenario())


def test_event_loop_stays_free_and_the_deadline_stops_the_sampler(tmp_path):
    async def scenario():
        replica = Replica(LOAD)
        await replica.reconfigure(config(reference(tmp_path / "a", "1", step_ms=20)))
        started = time.monotonic()
        task = asyncio.create_task(replica.generate(request(num_inference_steps=100), 0.2))
        ticks = 0
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        outcome = await task
        assert outcome["problem"]["status"] == 504
        assert outcome["problem"]["headers"]["x-should-retry"] == "false"
        assert time.monotonic() - started < 1.0  # not the 2 s of all steps
        assert ticks > 5

    asyncio.run(scenario())


def test_cancelled_request_frees_the_sampler(tmp_path):
    async def scenario():
        replica = Replica(LOAD)
        await replica.reconfigure(config(reference(tmp_path / "a", "1", step_ms=20)))
        task = asyncio.create_task(replica.generate(request(num_inference_steps=100), 60.0))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        started = time.monotonic()
        await replica.generate(request(num_inference_steps=1), 10.0)
        assert time.monotonic() - started < 1.0

    asyncio.run(scenario())


def test_request_that_waited_too_long_costs_nothing(tmp_path):
    async def scenario():
        replica = Replica(LOAD)
        await replica.reconfigure(config(reference(tmp_path / "a", "1", step_ms=20)))
        first = asyncio.create_task(replica.generate(request(num_inference_steps=15), 10.0))
        await asyncio.sleep(0.02)
        late = await replica.generate(request(), 0.05)
        assert late["problem"]["status"] == 504
        assert "images" in await first

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"class": "cart"}, 400, "Did you mean 'cat'?"),
        ({"class": "cat", "size": "64x64"}, 400, "16x16"),
        ({"class": "cat", "budget": 0.05}, 400, "budget must be at least 0.1"),
        ({"class": "apple / noto"}, 500, "request id"),
    ],
)
def test_refusals_of_the_model(tmp_path, body, status, words):
    async def scenario():
        replica = Replica(LOAD)
        await replica.reconfigure(config(reference(tmp_path / "a", "1")))
        problem = (await replica.generate(request(**body), 10.0))["problem"]
        assert problem["status"] == status
        assert words in problem["message"]
        assert "/etc" not in problem["message"]

    asyncio.run(scenario())


def test_bundle_without_a_place_is_refused():
    with pytest.raises(BundleError, match="directory or a registry"):
        fetch_bundle(ModelRef("m", "1", "0" * 64))


@pytest.mark.slow
def test_bundle_that_is_not_on_this_node_is_fetched_from_the_registry(tmp_path):
    from nitrogen.platform.registry import Registry

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    version = Registry(uri).register(fake_generator.make_bundle(tmp_path / "a"), "m")
    elsewhere = ModelRef("m", "1", version.digest, "/not/on/this/node", uri)
    assert fetch_bundle(elsewhere) == tmp_path / "bundles" / version.digest
    with pytest.raises(BundleError, match="not the one that was registered"):
        fetch_bundle(ModelRef("m", "1", "0" * 64, "", uri, str(tmp_path / "cache")))


@pytest.mark.parametrize("path", ["no.such.module:load", "fake_generator:nothing", "", "json"])
def test_generator_that_cannot_be_imported_is_a_sentence(tmp_path, path):
    model = reference(tmp_path / "a", "1")
    with pytest.raises(ServingError, match=r"serve\.generator must be"):
        load_model(model, path)
