"""The smoke check over real HTTP (uvicorn in a thread), without Ray."""

import json
import threading
import time

import pytest
import uvicorn

from nitrogen.platform.auth import load_api_keys
from nitrogen.platform.errors import ServingError
from nitrogen.platform.serving.api import build_api
from nitrogen.platform.serving.edge import EdgePolicy
from nitrogen.platform.serving.problems import invalid
from nitrogen.platform.serving.proxy import check_port, free_port
from nitrogen.platform.serving.smoke import first_class, smoke_check, wait_until_ready

KEY = "correct-horse-battery"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x20\x00\x00\x00\x10"


class OnePicture:
    png = PNG

    async def generate(self, request):
        if request["class"] != "cat":
            return {"problem": invalid("class", "class must be cat. Say cat.").as_dict()}
        image = {"png": self.png, "seed": request["seed"], "metrics": {"gflops": 1.0}}
        return {"images": [image], "model": {"name": "m", "version": "1", "digest": "d"}}

    async def describe(self):
        model = {"name": "m", "version": "1", "digest": "d"}
        info = {"classes": ["cat", "dog"]}
        return [{"model": model, "info": info, "loaded_at": 1.0, "rejected": None}]


@pytest.fixture(scope="module")
def server():
    port = free_port()
    backend = OnePicture()
    api = build_api(backend, EdgePolicy(keys=load_api_keys({"NITROGEN_API_KEYS": KEY})))
    config = uvicorn.Config(api, host="127.0.0.1", port=port, log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}", backend
    running.should_exit = True
    thread.join(5)


def test_one_request_is_checked(server):
    url, _ = server
    assert first_class(url, KEY) == "cat"
    result = smoke_check(url, {"class": "cat", "seed": 5}, api_key=KEY)
    assert (result.width, result.height, result.seed) == (32, 16, 5)
    assert result.png == PNG
    assert result.ms > 0
    assert json.dumps(result.compute)


def test_refusals_carry_the_endpoints_sentence(server):
    url, _ = server
    with pytest.raises(ServingError, match=r"answered 400: class must be cat"):
        smoke_check(url, {"class": "dog"}, api_key=KEY)
    with pytest.raises(ServingError, match="answered 401"):
        smoke_check(url, {"class": "cat"})


def test_what_is_not_a_png_is_noticed(server, monkeypatch):
    url, backend = server
    monkeypatch.setattr(backend, "png", b"GIF89a..............................")
    with pytest.raises(ServingError, match="PNG"):
        smoke_check(url, {"class": "cat"}, api_key=KEY)


def test_nothing_there_is_a_sentence():
    with pytest.raises(ServingError, match="Is it running"):
        wait_until_ready(f"http://127.0.0.1:{free_port()}", timeout_s=0.3)


def test_taken_port_is_a_sentence(server):
    port = int(server[0].rsplit(":", 1)[1])
    with pytest.raises(ServingError, match=r"serve\.port must be free"):
        check_port("127.0.0.1", port)
