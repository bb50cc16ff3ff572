"""The endpoint on a real Ray Serve: answers, moves under load, survives what it must.

One cluster and one endpoint for the whole file; each test leaves it serving a good version.
"""

import base64
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import fake_generator
import pytest

from nitrogen.platform.audit import AuditLog
from nitrogen.platform.bundles import verify_bundle
from nitrogen.platform.gates import Gate
from nitrogen.platform.promotion import promote, rollback
from nitrogen.platform.registry import Registry
from nitrogen.platform.serving import endpoint as endpoints
from nitrogen.platform.serving.reconciler import Reconciler, champion_ref
from nitrogen.platform.serving.replica import ModelRef
from nitrogen.platform.serving.settings import ServingSettings
from nitrogen.platform.serving.smoke import smoke_check

pytestmark = pytest.mark.ray

NAME = "emoji"
GATES = [Gate(metric="fd", op="<=", bound=10.0)]
SETTINGS = ServingSettings(
    generator="fake_generator:load_generator",
    num_cpus=0.5,
    max_ongoing_requests=2,
    max_queued_requests=4,
    request_timeout_s=20.0,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A registry with three versions (red, green, slow) and an endpoint that serves red."""
    from nitrogen.platform.cluster import start_embedded

    home = tmp_path_factory.mktemp("home")
    registry, audit = Registry(f"sqlite:///{home}/mlflow.db"), AuditLog(home / "audit.jsonl")
    for name, config in {
        "red": {"color": (255, 0, 0), "step_ms": 2},
        "green": {"color": (0, 255, 0), "step_ms": 2},
        "slow": {"color": (0, 0, 0), "step_ms": 250},
        "broken": {"broken": True},
    }.items():
        registry.register(
            fake_generator.make_bundle(home / name, **config), NAME, metrics={"fd": 1.0}
        )
    promote(registry, NAME, "1", GATES, audit)
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(fake_generator.__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        with start_embedded(num_cpus=2, object_store_bytes=150 << 20):
            model = champion_ref(registry, NAME, home / "cache")
            endpoint = endpoints.start(SETTINGS, model, port=0, environment={})
            reconciler = Reconciler(registry, endpoint, NAME, home / "cache", audit)
            yield SimpleNamespace(
                home=home, registry=registry, audit=audit, endpoint=endpoint, watch=reconciler
            )
            endpoint.shut_down()
            assert endpoints.attach() is None


def call(world, body=None, path="/v1/images/generations", headers=None, timeout=40.0):
    """(status, headers, body bytes) of one request."""
    request = urllib.request.Request(f"{world.endpoint.url}{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def png_of(world, seed=3, **body) -> bytes:
    status, _, content = call(world, {"class": "cat", "seed": seed, **body})
    assert status == 200, content
    return base64.b64decode(json.loads(content)["data"][0]["b64_json"])


def color_of(png: bytes) -> tuple:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(png), formats=("PNG",)).getpixel((0, 0))


def pids(world) -> set[int]:
    return {replica["pid"] for replica in world.endpoint.describe()}


def test_answers_in_both_forms(world):
    result = smoke_check(world.endpoint.url, {"class": "cat", "seed": 3})
    assert color_of(result.png) == (255, 0, 3)
    assert result.model["version"] == "1"
    assert {"gflops", "gflops_full", "ms", "steps", "active_fraction", "budget"} <= set(
        result.compute
    )
    status, headers, content = call(
        world, {"class": "cat", "seed": 3}, headers={"Accept": "image/png", "x-request-id": "abc"}
    )
    assert (status, headers["content-type"]) == (200, "image/png")
    assert headers.get_all("x-request-id") == ["abc"]
    assert content == result.png
    (model,) = json.loads(call(world, path="/v1/models")[2])["data"]
    assert (model["id"], model["version"]) == (NAME, "1")


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        ({"class": "cart"}, {}, 400, "Did you mean 'cat'"),
        ({"class": "cat", "n": 9}, {}, 400, "n must be an integer from 1 to 8, got 9"),
        ({"class": "cat", "stepz": 9}, {}, 400, "Unknown field"),
        ({"class": "cat"}, {"x-request-timeout-seconds": "-1"}, 400, "must not be sent"),
        ({"class": "cat"}, {"x-request-disconnect-disabled": "?1"}, 400, "must not be sent"),
        ({"class": "cat"}, {"Host": "evil.example"}, 403, "Host must be"),
        ({"class": "apple / noto"}, {}, 500, "request id"),
    ],
)
def test_refusals(world, body, headers, status, words):
    found, found_headers, content = call(world, body, headers=headers)
    assert (found, found_headers["content-type"]) == (status, "application/problem+json")
    assert words in json.loads(content)["error"]["message"]


def test_promotion_under_load_loses_nothing_and_rollback_moves_back(world):
    stop, outcomes = threading.Event(), []

    def load():
        while not stop.is_set():
            status, _, content = call(
                world, {"class": "cat", "seed": 3}, headers={"Accept": "image/png"}
            )
            outcomes.append((status, color_of(content)[:2] if status == 200 else content))

    before = pids(world)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(load)
        promote(world.registry, NAME, "2", GATES, world.audit)
        moved = world.watch.reconcile()
        at_green = len(outcomes)
        time.sleep(0.5)
        rollback(world.registry, NAME, world.audit)
        back = world.watch.reconcile()
        stop.set()
    assert (moved.action, back.action) == ("moved", "moved")
    assert {status for status, _ in outcomes} == {200}
    colors = [color for _, color in outcomes]
    assert colors[0] == (255, 0)
    assert (0, 255) in colors[at_green - 1 :]
    assert set(colors) == {(255, 0), (0, 255)}
    assert color_of(png_of(world)) == (255, 0, 3)
    assert pids(world) == before  # no replica was restarted
    assert endpoints.attach().model().version == "1"


def test_bad_versions_are_refused_and_the_old_one_serves_on(world):
    before = pids(world)
    stored = Path(world.registry.get(NAME, "2").source.removeprefix("file://"))
    good = (stored / "config.json").read_bytes()
    (stored / "config.json").write_text("{}")
    for version in ("2", "4"):  # damaged in the store; fails its self-test
        shutil_cache = world.home / "cache" / world.registry.get(NAME, version).digest
        if shutil_cache.exists():
            (shutil_cache / "config.json").write_text("{}")
        promote(world.registry, NAME, version, GATES, world.audit)
        done = world.watch.reconcile()
        assert done.action == "refused", done
        assert "config.json" in done.reason or "golden pictures differ" in done.reason
        assert color_of(png_of(world)) == (255, 0, 3)
        assert world.endpoint.model().version == "1"
        rollback(world.registry, NAME, world.audit)
        assert world.watch.reconcile().action == "none"
    (stored / "config.json").write_bytes(good)
    assert pids(world) == before
    assert [r["to"] for r in world.audit.read() if r["event"] == "endpoint_refused"] == ["2", "4"]
    # Past the reconciler's own check, a replica refuses a bundle that was swapped on its disk.
    model = world.endpoint.model()
    swapped = ModelRef(NAME, "9", "0" * 64, model.source)
    result = world.endpoint.move(swapped)
    assert not result.moved
    assert "digest" in result.reason
    assert color_of(png_of(world)) == (255, 0, 3)


@pytest.fixture
def slow(world):
    """The endpoint at the slow version: 250 ms a step."""
    red = world.endpoint.model()
    digest = world.registry.get(NAME, "3").digest
    bundle = world.registry.download(NAME, "3", world.home / "cache")
    assert verify_bundle(bundle) == digest
    assert world.endpoint.move(ModelRef(NAME, "3", digest, str(bundle))).moved
    yield world
    assert world.endpoint.move(red).moved


def test_full_queue_answers_503_and_health_stays_quick(slow):
    with ThreadPoolExecutor(14) as pool:
        # 4 s each: all 14 are there before the first is done, on a busy machine too.
        body = {"class": "cat", "num_inference_steps": 16}
        pending = [pool.submit(call, slow, body) for _ in range(14)]
        time.sleep(0.3)
        for _ in range(3):
            started = time.monotonic()
            status, _, content = call(slow, path="/health/ready")
            assert (status, json.loads(content)["models"]) == (200, ["3"])
            assert time.monotonic() - started < 3.0  # not until a request is done
            time.sleep(1.1)  # longer than an answer is kept without asking again
        answers = [future.result() for future in pending]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) <= {200, 503, 504}
    assert statuses.count(200) >= 4
    refused = [headers for status, headers, _ in answers if status == 503]
    assert len(refused) >= 6
    assert all(1 <= int(headers["retry-after"]) <= 60 for headers in refused)


def test_deadline_and_disconnect_free_the_sampler(slow):
    started = time.monotonic()
    status, headers, content = call(slow, {"class": "cat", "num_inference_steps": 100})
    assert (status, headers["x-should-retry"]) == (504, "false"), content
    assert time.monotonic() - started < 24  # 20 s of the 25 s that all steps take
    host, port = slow.endpoint.host, slow.endpoint.port
    body = json.dumps({"class": "cat", "num_inference_steps": 60}).encode()
    head = (
        f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.5)
    started = time.monotonic()
    png_of(slow, num_inference_steps=1)
    assert time.monotonic() - started < 6.0  # not the 14 s that the client left behind


def test_killed_replica_is_replaced_and_its_request_replayed(slow):
    expected = png_of(slow, num_inference_steps=1)
    (pid,) = pids(slow)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(png_of, slow, num_inference_steps=6)
        time.sleep(0.8)  # in the middle of its 1.5 s
        assert not pending.done()
        os.kill(pid, signal.SIGKILL)
        assert pending.result() == expected
    assert pids(slow) != {pid}


def test_load_adds_a_replica_within_the_bounds(world):
    """Last in the file: the endpoint gives way to one that may grow."""
    model = world.endpoint.model()
    world.endpoint.stop()
    assert endpoints.attach() is None
    growing = SETTINGS.model_copy(
        update={"max_replicas": 2, "upscale_delay_s": 0.0, "target_ongoing_requests": 1.0}
    )
    scaled = endpoints.start(growing, model, port=0, environment={})
    assert scaled.url == world.endpoint.url  # Serve's proxy was there already
    stop = threading.Event()

    def load():
        while not stop.is_set():
            call(world, {"class": "cat", "num_inference_steps": 50})

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(load)
        deadline = time.monotonic() + 90
        while len(scaled.describe()) < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        found = {replica["model"]["version"] for replica in scaled.describe()}
        size = len(scaled.describe())
        stop.set()
    assert size == 2
    assert found == {model.version}
