"""`data prepare`, `data classes` and `data describe`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table

if TYPE_CHECKING:
    from nitrogen.pipelines.data.manifest import Manifest

_DATA = typer.Typer(
    no_args_is_help=True,
    help="Prepare and look at data sets.",
    rich_markup_mode=None,
    epilog="Example: nitrogen data prepare ~/pictures --out data/mine",
)


BUNDLED = "bundled:emoji"
DataArgument = Annotated[
    str, typer.Argument(help="Prepared data set (folder or s3://), or bundled:emoji.")
]


def register(app: typer.Typer) -> None:
    _DATA.command(
        "prepare",
        epilog="Example: nitrogen data prepare photos/ --out s3://bucket/photos --image-size 32",
    )(prepare)
    _DATA.command("classes", epilog="Example: nitrogen data classes bundled:emoji")(classes)
    _DATA.command("describe", epilog="Example: nitrogen data describe data/x --json")(describe)
    app.add_typer(_DATA, name="data")


def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder with one folder a class, Parquet, IDX (local or s3://), bundled:emoji "
            "or bundled:scenes."
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or s3:// for the shards.")],
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels; that of the source by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column with the pictures, for Parquet.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column with the classes, for Parquet.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished data set in --out.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read pictures and write Parquet shards with a manifest of their digests.

    Asking again for what --out holds already reads the source, changes nothing and succeeds.
    """
    from nitrogen.pipelines.data.places import check_places
    from nitrogen.pipelines.data.prepare import prepare as prepare_data
    from nitrogen.pipelines.data.repeat import find_prepared
    from nitrogen.pipelines.progress import make_progress

    options: dict[str, Any] = {
        "image_size": image_size,
        "name": name,
        "image_column": image_column,
        "label_column": label_column,
    }
    check_places(source, out)
    if not overwrite and (known := find_prepared(source, out, **options)):
        note(f"already prepared from this source with these options: {out}")
        _tell(known, out, as_json)
        return
    progress = make_progress()
    started = time.monotonic()
    progress.begin_step("prepare", 1, 1)
    try:
        manifest = prepare_data(
            source,
            out,
            **options,
            overwrite=overwrite,
            on_progress=lambda done, total: progress.update(step=done, total=total),
            on_message=progress.message,
        )
        progress.end_step("prepare", "done", time.monotonic() - started)
    finally:
        progress.close()
    _tell(manifest, out, as_json)


def classes(data: DataArgument = BUNDLED, as_json: JsonOption = False) -> None:
    """List the classes of a data set, with the number of pictures in each split."""
    manifest = _manifest(data)
    splits = [split for split, count in manifest.splits.items() if count]
    counts = [manifest.class_counts.get(name, {}) for name in manifest.classes]
    if as_json:
        named = zip(manifest.classes, counts, strict=True)
        say_json([{"label": i, "name": name, **count} for i, (name, count) in enumerate(named)])
        return
    rows = [
        (label, name, *(count.get(split, 0) for split in splits))
        for label, (name, count) in enumerate(zip(manifest.classes, counts, strict=True))
    ]
    say_table(("label", "class", *splits), rows)


def describe(data: DataArgument = BUNDLED, as_json: JsonOption = False) -> None:
    """Print what a data set's manifest says: sizes, splits, statistics, broken pictures."""
    _tell(_manifest(data), data, as_json)


def _manifest(data: str) -> Manifest:
    from nitrogen.pipelines.data.manifest import load_manifest
    from nitrogen.pipelines.data.shipped import resolve

    return load_manifest(resolve(data))


def _tell(manifest: Manifest, where: str, as_json: bool) -> None:
    if as_json:
        say(manifest.to_json())
        return
    height, width = manifest.image_size
    say(f"{manifest.name}  {width}x{height} px  {manifest.num_classes} classes  {where}")
    say("  ".join(f"{split} {count}" for split, count in manifest.splits.items()))
    say(f"mean {_numbers(manifest.channel_mean)}  std {_numbers(manifest.channel_std)}  in -1..1")
    say(f"digest {manifest.digest}")
    for text in manifest.notes:
        say(f"note: {text}")
    if manifest.num_broken:
        say(f"{manifest.num_broken} broken pictures were left out, the first of them:")
        for entry in manifest.broken[:20]:
            say(f"  {entry.key}: {entry.reason}")


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
