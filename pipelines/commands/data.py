"""`data prepare`, `data classes` and `data describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nitrogen.pipelines.commands.output import JsonOption, say, say_json, say_table

if TYPE_CHECKING:
    from nitrogen.pipelines.data.manifest import Manifest

_DATA = typer.Typer(
    no_args_is_help=True, help="Prepare and look at data sets.", rich_markup_mode=None
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
        typer.Argument(help="Folder of class folders, Parquet, IDX; local or s3://."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or s3:// for the shards.")],
    image_size: Annotated[
        int | None, typer.Option(min=8, max=8192, help="Side in pixels; that of the source.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read pictures and write Parquet shards with a manifest of their digests."""
    from nitrogen.pipelines.data.prepare import prepare as prepare_data

    manifest = prepare_data(source, out, image_size=image_size)
    _tell(manifest, out, as_json)


def classes(data: DataArgument = BUNDLED, as_json: JsonOption = False) -> None:
    """List the classes of a data set, with the number of training pictures of each."""
    manifest = _manifest(data)
    counts = dict(manifest.class_counts)
    rows = [(index, name, counts.get(name)) for index, name in enumerate(manifest.classes)]
    if as_json:
        say_json([{"label": i, "name": name, "count": count} for i, name, count in rows])
    else:
        say_table(("label", "class", "pictures"), rows)


def describe(data: DataArgument = BUNDLED, as_json: JsonOption = False) -> None:
    """Print what a data set's manifest says: sizes, splits, statistics, broken pictures."""
    _tell(_manifest(data), data, as_json)


def _manifest(data: str) -> Manifest:
    from nitrogen.pipelines.data.manifest import load_manifest

    if data == BUNDLED:
        from nitrogen.pipelines.data.bundled import bundled_emoji

        data = str(bundled_emoji())
    return load_manifest(data)


def _tell(manifest: Manifest, where: str, as_json: bool) -> None:
    if as_json:
        say_json(manifest)
        return
    height, width = manifest.image_size
    say(f"{manifest.name}  {width}x{height} px  {manifest.num_classes} classes  {where}")
    say("  ".join(f"{split} {count}" for split, count in manifest.splits.items()))
    say(f"digest {manifest.digest}")
    for text in manifest.notes:
        say(f"note: {text}")
    if manifest.broken:
        say(f"{len(manifest.broken)} broken pictures were left out:")
        for entry in manifest.broken[:20]:
            say(f"  {entry}")
