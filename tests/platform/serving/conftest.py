"""An ASGI client without a network."""

import asyncio
import json as json_module
from dataclasses import dataclass

import pytest


@dataclass
class Answer:
    status_code: int
    headers: dict
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("latin-1")

    def json(self):
        return json_module.loads(self.content)


class AsgiClient:
    """Calls an ASGI application in this thread, one request at a time."""

    def __init__(self, app) -> None:
        self.app = app

    def get(self, path, headers=None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path, json=None, content=None, headers=None) -> Answer:
        return self.request("POST", path, json=json, content=content, headers=headers)

    def request(self, method, path, json=None, content=None, headers=None) -> Answer:
        """`content` is bytes, or a list of chunks sent without a Content-Length."""
        sent = {"host": "127.0.0.1:8000"}
        if json is not None:
            content = json_module.dumps(json).encode()
            sent["content-type"] = "application/json"
        chunks = content if isinstance(content, list) else [content or b""]
        if not isinstance(content, list):
            sent["content-length"] = str(len(chunks[0]))
        sent.update({key.lower(): value for key, value in (headers or {}).items()})
        return asyncio.run(self._call(method, path, sent, chunks))

    async def _call(self, method, path, headers, chunks) -> Answer:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        messages = [
            {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)}
            for i, chunk in enumerate(chunks)
        ]
        sent = []

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.app(scope, receive, send)
        starts = [message for message in sent if message["type"] == "http.response.start"]
        assert len(starts) == 1
        pairs = [(key.decode(), value.decode()) for key, value in starts[0]["headers"]]
        assert len({key.lower() for key, _ in pairs}) == len(pairs), pairs
        return Answer(
            starts[0]["status"],
            {key.lower(): value for key, value in pairs},
            b"".join(message.get("body", b"") for message in sent),
        )


@pytest.fixture
def asgi_client():
    return AsgiClient
