"""The HTTP interface over a backend without Ray: answers, refusals, keys, hosts, headers."""

import base64
import json
import re

import pytest

from nitrogen.platform.auth import load_api_keys
from nitrogen.platform.serving.api import build_api
from nitrogen.platform.serving.edge import EdgePolicy
from nitrogen.platform.serving.problems import overloaded

PNG = b"\x89PNG\r\n\x1a\nrest"
KEY = "correct-horse-battery"
URL = "/v1/images/generations"


class StillBackend:
    """Answers at once with the same bytes; remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.problem = None
        self.failure = None
        self.ready = True

    async def generate(self, request):
        self.asked.append(request)
        if self.failure:
            raise self.failure
        if self.problem:
            return {"problem": self.problem.as_dict()}
        metrics = {"gflops": 2.0, "gflops_full": 4.0, "ms": 3.0, "steps": 12}
        return {
            "images": [
                {
                    "png": PNG,
                    "seed": request["seed"] + i,
                    "metrics": {**metrics, "active_fraction": 0.5, "fallbacks": 3},
                }
                for i in range(request["n"])
            ],
            "model": {"name": "m", "version": "3", "digest": "d"},
            "budget": request["budget"],
        }

    async def describe(self):
        if not self.ready:
            return []
        model = {"name": "m", "version": "3", "digest": "d"}
        info = {"classes": ["cat"], "image_size": 32}
        return [{"model": model, "info": info, "loaded_at": 5.0, "rejected": None}] * 2


@pytest.fixture
def backend():
    return StillBackend()


@pytest.fixture
def client_of(asgi_client):
    def make(backend, **policy):
        return asgi_client(build_api(backend, EdgePolicy(echo_request_id=True, **policy)))

    return make


@pytest.fixture
def client(backend, client_of):
    return client_of(backend)


def is_problem(response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["error"]["message"] == body["detail"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["status"] == status
    assert response.headers["x-request-id"] in body["instance"]
    assert not re.search(r"Traceback|/home/|/tmp/|0x[0-9a-f]{6}", response.text)
    return body["error"]


def test_openai_shape(client):
    response = client.post(URL, json={"class": "cat", "n": 2, "seed": 7, "budget": 0.5})
    assert response.status_code == 200
    body = response.json()
    assert body["created"] > 1.7e9
    assert [base64.b64decode(item["b64_json"]) for item in body["data"]] == [PNG, PNG]
    assert [item["seed"] for item in body["data"]] == [7, 8]
    assert body["compute"] == {
        "gflops": 4.0,
        "gflops_full": 8.0,
        "ms": 6.0,
        "steps": 12,
        "active_fraction": 0.5,
        "budget": 0.5,
    }
    assert body["model"]["version"] == "3"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "headers"),
    [({"response_format": "png"}, {}), ({}, {"Accept": "image/png"})],
)
def test_bare_png(client, body, headers):
    response = client.post(URL, json={"class": "cat", "seed": 7, **body}, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.content == PNG
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-compute-gflops"] == "2"
    assert response.headers["x-model-version"] == "3"


def test_bare_png_is_one_picture(client):
    response = client.post(URL, json={"class": "cat", "n": 2}, headers={"Accept": "image/png"})
    assert is_problem(response, 400)["param"] == "n"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"class": NaN}', b'{"class": "cat", "class": "dog"}', b"[" * 30000, b"\xff"],
)
def test_what_is_not_json_is_refused(client, backend, content):
    headers = {"content-type": "application/json"}
    is_problem(client.post(URL, content=content, headers=headers), 400)
    assert backend.asked == []


def test_only_json_is_read(client):
    response = client.post(URL, content=b'{"class": "cat"}', headers={"content-type": "text/plain"})
    assert is_problem(response, 415)["code"] == "unsupported_media_type"


def test_bodies_are_bounded(client, backend):
    huge = json.dumps({"class": "x" * 100_000})
    response = client.post(URL, content=huge, headers={"content-type": "application/json"})
    is_problem(response, 413)

    chunks = [b" " * 1000] * 100
    response = client.post(URL, content=chunks, headers={"content-type": "application/json"})
    is_problem(response, 413)
    assert backend.asked == []


@pytest.mark.parametrize(
    "header",
    ["x-request-timeout-seconds", "X-Request-Timeout-Seconds", "x-request-disconnect-disabled"],
)
@pytest.mark.parametrize("value", ["-1", "?1", "5"])
def test_headers_that_switch_protections_off_are_refused(client, backend, header, value):
    error = is_problem(client.post(URL, json={"class": "cat"}, headers={header: value}), 400)
    assert error["code"] == "header_not_allowed"
    assert backend.asked == []


@pytest.mark.parametrize(
    ("path", "method"),
    [("/nothing", "get"), ("/", "get"), ("/docs", "get"), (URL, "get"), ("/v1/models", "delete")],
)
def test_other_routes_are_problems(client, path, method):
    known = path in (URL, "/v1/models")
    is_problem(client.request(method.upper(), path), 405 if known else 404)


def test_problems_of_the_backend_pass_through(client, backend):
    backend.problem = overloaded(7)
    response = client.post(URL, json={"class": "cat"})
    assert is_problem(response, 503)["code"] == "overloaded"
    assert response.headers["retry-after"] == "7"


def test_failures_show_nothing(client, backend):
    backend.failure = KeyError("secret at /home/ada")
    error = is_problem(client.post(URL, json={"class": "cat"}), 500)
    assert "secret" not in error["message"]


def test_health_models_and_metrics(client, backend):
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").json()["replicas"] == 2
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["version"], model["classes"]) == ("m", "3", ["cat"])
    client.post(URL, json={"class": "cat"})
    client.post(URL, json={"class": "cat", "n": 0})
    text = client.get("/metrics").text
    assert 'nitrogen_requests_total{status="200"} 1' in text
    assert 'nitrogen_requests_total{status="400"} 1' in text
    assert 'nitrogen_gflops_total{kind="spent"} 2.0' in text
    assert "nitrogen_fallbacks_total 3" in text
    backend.ready = False
    response = client.get("/health/ready")
    assert is_problem(response, 503)["code"] == "not_ready"
    assert response.headers["retry-after"]
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1:8000"])
def test_foreign_hosts_are_refused_on_loopback(client, backend, host):
    is_problem(client.post(URL, json={"class": "cat"}, headers={"host": host}), 403)
    assert backend.asked == []


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000"])
def test_loopback_hosts_are_served(client, host):
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_foreign_origins_are_refused_on_loopback(client, origin):
    is_problem(client.post(URL, json={"class": "cat"}, headers={"origin": origin}), 403)


def test_any_host_is_served_when_not_on_loopback(backend, client_of):
    client = client_of(backend, loopback_only=False, keys=load_api_keys({"NITROGEN_API_KEYS": KEY}))
    headers = {"host": "images.example", "authorization": f"Bearer {KEY}"}
    assert client.post(URL, json={"class": "cat"}, headers=headers).status_code == 200


def test_every_route_but_health_asks_for_the_key(backend, client_of):
    client = client_of(backend, keys=load_api_keys({"NITROGEN_API_KEYS": KEY}))
    app = client.app._app
    paths = {route.path for route in app.routes} | {"/nothing"}
    assert {URL, "/v1/models", "/metrics", "/openapi.json", "/health/live"} <= paths
    for path in paths:
        for headers in ({}, {"authorization": "Bearer wrong-key-0123456"}, {"x-api-key": ""}):
            response = client.request("POST" if path == URL else "GET", path, headers=headers)
            if path.startswith("/health/"):
                assert response.status_code == 200
            else:
                error = is_problem(response, 401)
                assert error["type"] == "authentication_error"
                assert response.headers["www-authenticate"] == "Bearer"
    headers = {"authorization": f"Bearer {KEY}"}
    assert client.post(URL, json={"class": "cat"}, headers=headers).status_code == 200
    assert backend.asked


@pytest.mark.parametrize(("sent", "kept"), [("abc-123", True), ("a b", False), ("x" * 65, False)])
def test_request_ids(client, sent, kept):
    response = client.get("/v1/models", headers={"x-request-id": sent})
    assert (response.headers["x-request-id"] == sent) is kept


def test_schema_names_every_field(client):
    schema = client.get("/openapi.json").json()
    body = schema["paths"][URL]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"class", "prompt", "n", "seed", "budget", "policy"} <= set(body["properties"])
