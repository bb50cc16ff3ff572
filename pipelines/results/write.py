"""`nitrogen bench results`: pages, plots and README's block, from benchmark files alone."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nitrogen.pipelines.atomic_json import write_json
from nitrogen.pipelines.bench.pareto_plot import draw_pareto
from nitrogen.pipelines.bench.plot_style import THEMES, themed
from nitrogen.pipelines.results.ablation_page import ablation_page
from nitrogen.pipelines.results.article import article_note, article_table
from nitrogen.pipelines.results.dataset_page import dataset_page
from nitrogen.pipelines.results.files import BenchFile, portable, read_files
from nitrogen.pipelines.results.headline import headline, speedup_note, speedup_table
from nitrogen.pipelines.results.limits_pages import attack_page, scaling_page
from nitrogen.pipelines.results.readme_block import block, picture, refuse_quick, with_block
from nitrogen.pipelines.results.verdicts import tally, verdicts
from nitrogen.platform.storage_local import whole

ERRORS = {"mse": "Same-seed error against time", "kid": "KID against time"}
PAGES = {"attack": attack_page, "scaling": scaling_page, "ablation": ablation_page}
TRIED = "tried.md"  # written by hand, linked where it is there
DrawWidths = Callable[[BenchFile, Path], list[Path]]  # (file, path without suffix) -> figures


def write_results(
    paths: Iterable[Path], out: Path, readme: Path | None, draw_widths: DrawWidths | None
) -> list[Path]:
    """Writes everything into `out`, and README's block; returns what it wrote.

    draw_widths: draws where compute went, for the first file of bench frontier. Raises ConfigError.
    """
    files = read_files(paths)
    if readme is not None:
        refuse_quick(files)
        with_block(readme, "")  # refuses before anything is written
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    frontiers = [file for file in files if file.kind == "frontier"]
    widths = None
    if draw_widths is not None and frontiers:
        written += draw_widths(frontiers[0], out / "widths")
        widths = picture("widths", "Pictures, and the width of each region by step")
    for file in files:
        page, plots = out / f"{file.name}.md", _plots(file, out)
        if file.kind == "frontier":
            mine = widths if file is frontiers[0] else None
            shown = {w: picture(f"{file.name}-{w}", text) for w, text in ERRORS.items()}
            text = dataset_page(file, shown, mine)
        else:
            text = PAGES[file.kind](file)
        kept = out / f"{file.name}.json"
        if kept.resolve() != file.path.resolve():
            write_json(kept, file.content)
        written += [*plots, _write(page, text), kept]
    written.append(_write(out / "README.md", index(files, out)))
    if readme is not None:
        text = block(files, out, readme, widths is not None)
        written.append(_write(readme, with_block(readme, text)))
    return written


def index(files: Sequence[BenchFile], out: Path) -> str:
    """The first page: headlines, the article's table, and a link to every page."""
    parts = ["# Results\n"]
    frontiers = [file for file in files if file.kind == "frontier"]
    for file in frontiers:
        batch = next(iter(file.content["summary"]))
        parts.append(f"{headline(file, batch)}\n")
    if frontiers:
        batches = list(dict.fromkeys(b for file in frontiers for b in file.content["summary"]))
        parts += [speedup_table(frontiers, batch) for batch in batches]
        parts += [f"{speedup_note(frontiers)}\n"]
        batch = batches[0]
        parts += [article_table(frontiers, batch), article_note(frontiers, batch) + "\n"]
        parts.append(picture(f"{frontiers[0].name}-mse", ERRORS["mse"]))
    parts.append("## Pages\n")
    for file in files:
        quick = " A quick run: decides nothing." if file.quick else ""
        parts.append(f"- [{file.name}]({file.name}.md): {tally(verdicts(file))}.{quick}")
    if (out / TRIED).is_file():
        parts.append(f"- [{TRIED}]({TRIED}): what was tried where a figure was missed.")
    parts += ["", "## Made by\n"]
    parts.append("```bash")
    parts += [file.command for file in files if file.command]
    kept = " ".join(shlex.quote(f"{out.as_posix()}/{file.name}.json") for file in files)
    made = portable(f"nitrogen bench results {kept} --out {shlex.quote(out.as_posix())}")
    parts += [made, "```", ""]
    parts.append(
        "The JSON files beside the pages hold all that the pages say. What the figures mean, and "
        "what they do not, is in the project's docs/benchmark.md.\n"
    )
    return "\n".join(parts)


def _plots(file: BenchFile, out: Path) -> list[Path]:
    if file.kind != "frontier":
        return []
    return [
        draw_pareto(file.content, themed(out / f"{file.name}-{which}", theme), which, theme)
        for which in ERRORS
        for theme in THEMES
    ]


def _write(path: Path, text: str) -> Path:
    with whole(path, durable=False) as stream:
        stream.write(text.rstrip("\n").encode() + b"\n")
    return path
