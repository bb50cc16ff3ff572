"""Benchmark files as results pages read them: what each is, and whether it decides anything."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from nitrogen.pipelines.bench.frontier_config import FORMAT, is_quick
from nitrogen.platform.errors import ConfigError

Kind = Literal["frontier", "attack", "scaling", "ablation"]
# Keys that only files of this kind have.
MARKS: Mapping[Kind, tuple[str, ...]] = {
    "frontier": ("rows", "summary", "dataset"),
    "attack": ("budget", "no budget"),
    "scaling": ("rows", "per_pixel"),
    "ablation": ("arms", "settings"),
}


@dataclass(frozen=True)
class BenchFile:
    """content: the file as it is; name: of its page, without suffix."""

    path: Path
    kind: Kind
    content: Mapping[str, Any]
    name: str

    @cached_property
    def quick(self) -> bool:
        """It shows that the benchmark runs, and decides nothing."""
        return is_quick(self.command)

    @property
    def command(self) -> str:
        return str(self.content.get("command") or "")

    @cached_property
    def source(self) -> dict[str, str]:
        """Where the numbers come from, for people: command, commit, hardware, date."""
        c = self.content
        return {
            "command": f"`{self.command}`" if self.command else "not recorded",
            "commit": str(c.get("commit") or "not recorded"),
            "hardware": "; ".join([self.machine, *filter(None, [self.load])]),
            "date": str(c.get("date") or "not recorded"),
        }

    @property
    def machine(self) -> str:
        """Processor and threads."""
        threads = self.content.get("threads")
        hardware = str(self.content.get("hardware") or "not recorded")
        return f"{hardware}; threads: {threads}" if threads else hardware

    @property
    def load(self) -> str:
        """Whether something else ran; empty where it is not recorded."""
        load, timing = self.content.get("load_1m"), self.content.get("timing_load_1m")
        told = [] if load is None else [f"load at the end: {load:g}"]
        if timing:
            most = f"at most {timing['max']:.1f}"
            told.append(f"load while timing: median {timing['median']:.1f}, {most}")
        return "; ".join(told)


def read_files(paths: Iterable[Path]) -> list[BenchFile]:
    """The files, each with a name of its own. Raises ConfigError for what is no benchmark file."""
    found: list[BenchFile] = []
    for path in paths:
        content = _content(path)
        kind = kind_of(content)
        if kind is None:
            raise ConfigError(
                "FILES must be written by bench frontier, attack, scaling or ablation, got "
                f"{path}. Give the --out of one of them."
            )
        if kind == "frontier" and content.get("format") != FORMAT:
            raise ConfigError(
                f"FILES must be of format {FORMAT}, got {path} of {content.get('format')}. Run "
                "bench frontier again: what it measured is kept beside the file."
            )
        name = _slug(str(content["dataset"])) if kind == "frontier" else kind
        if name in {file.name for file in found}:
            name = f"{name}-{_slug(path.stem)}"
        if name in {file.name for file in found}:
            raise ConfigError(
                f"FILES must have names of their own, got {path.stem} twice for {name}. Rename one."
            )
        known = {"command": portable(content["command"])} if content.get("command") else {}
        found.append(BenchFile(path, kind, {**content, **known}, name))
    return found


def portable(command: str) -> str:
    """The command with the folders of absolute paths left out: they are of one machine."""
    words = [
        Path(word).name if word.startswith("/") and len(word) > 1 else word
        for word in shlex.split(command)
    ]
    return shlex.join(words)


def kind_of(content: Any) -> Kind | None:
    if not isinstance(content, Mapping):
        return None
    return next((kind for kind, keys in MARKS.items() if all(key in content for key in keys)), None)


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(
            f"FILES must be files that can be read, got {path} ({exc.strerror}). Check the path."
        ) from exc
    except ValueError as exc:
        raise ConfigError(f"FILES must be JSON, got {path} ({exc}). Make it anew.") from exc


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"
