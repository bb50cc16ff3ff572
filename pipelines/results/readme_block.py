"""The generated part of the project's README: plot, headline and the article's table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nitrogen.pipelines.results.article import article_note, article_table
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.headline import headline, speedup_note, speedup_table
from nitrogen.pipelines.results.verdicts import tally, verdicts
from nitrogen.platform.errors import ConfigError

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
BATCH = "1"  # of the headline and the article's table


def block(files: Sequence[BenchFile], out: Path, readme: Path, width_map: bool) -> str:
    """What stands between the markers, with the plot of the first file; out: the pages' folder."""
    frontiers = [file for file in files if file.kind == "frontier"]
    where = Path(os.path.relpath(out.resolve(), readme.resolve().parent)).as_posix()
    batch = _batch(frontiers[0])
    parts = [picture(f"{where}/{frontiers[0].name}-mse", "Error against time, with the hull")]
    parts.append(f"{headline(frontiers[0], batch)}\n")
    parts += [speedup_table(frontiers, batch), f"{speedup_note(frontiers)}\n"]
    parts += [article_table(frontiers, batch), article_note(frontiers, batch) + "\n"]
    if width_map:
        parts.append(picture(f"{where}/widths", "Pictures, and the width of each region by step"))
    found = [verdict for file in files for verdict in verdicts(file)]
    summed = f"{tally(found)[:1].upper()}{tally(found)[1:]}"
    parts.append(f"{summed}: [{where}]({where}/README.md) has all of them, every row and command.")
    return "\n".join(parts)


def picture(stem: str, text: str) -> str:
    """The figure in light and dark, by what the reader's page is."""
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{stem}-dark.png">'
        f'<img src="{stem}.png" alt="{text}"></picture>\n'
    )


def with_block(readme: Path, text: str) -> str:
    """README's text with the block between its markers replaced.

    Raises ConfigError where it cannot be read or has no markers.
    """
    try:
        old = readme.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(
            f"--readme must be a file that can be read, got {readme} ({exc.strerror}). "
            "Leave it out, or name another."
        ) from exc
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(
            f"--readme must hold the lines {BEGIN} and {END}, got {readme} without them. "
            "Put them where the block belongs."
        )
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def refuse_quick(files: Sequence[BenchFile]) -> None:
    """Raises ConfigError for what may not stand in a README."""
    for file in files:
        if file.quick:
            raise ConfigError(
                f"--readme must be given files that decide something, got {file.path} of a quick "
                "run. Leave --readme out, or run the benchmark without --quick."
            )
    if not any(file.kind == "frontier" for file in files):
        raise ConfigError(
            "--readme must be given a file of bench frontier, got none. Add one, or leave it out."
        )


def _batch(file: BenchFile) -> str:
    batches = list(file.content["summary"])
    return BATCH if BATCH in batches else batches[0]
