"""The journal of a run folder: what happened and when, one JSON object a line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Appends events; each line is written at once, so that a killed run leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def read(self) -> Iterator[dict[str, Any]]:
        """Events from the first on; a torn last line is passed over."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError:
            return
        for line in text.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event


def describe(event: dict[str, Any]) -> str:
    """One event as a line for people."""
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.get("time", 0)))
    rest = {key: value for key, value in event.items() if key not in ("time", "event")}
    shown = "  ".join(f"{key}={value}" for key, value in rest.items() if value not in (None, []))
    return f"{clock}  {event.get('event', '?')}  {shown}".rstrip()
