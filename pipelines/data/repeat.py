"""Whether a finished data set is of this very source and these options: then all is done"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from nitrogen.pipelines.data.convert import read_content
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.manifest import MANIFEST_FILE, Manifest, Origin, load_manifest
from nitrogen.pipelines.data.readers import open_source
from nitrogen.pipelines.data.source import Picture, Source
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError


class PictureDigest:
    """sha256 over what a source holds: classes, and each picture's name, class, split, content."""

    def __init__(self, source: Source) -> None:
        self._digest = hashlib.sha256(json.dumps(list(source.classes)).encode())

    def add(self, picture: Picture, content: str) -> None:
        """content: `convert.Content.digest` of the picture."""
        text = json.dumps([picture.key, picture.label, picture.split, content])
        self._digest.update(text.encode())

    def value(self) -> str:
        return self._digest.hexdigest()


def origin_of(
    digest: PictureDigest,
    *,
    name: str,
    image_size: int | None,
    image_column: str | None,
    label_column: str | None,
    limits: Limits,
) -> Origin:
    """What a manifest remembers of a preparation whose pictures were all read by `digest`."""
    return Origin(
        pictures=digest.value(),
        options={
            "name": name,
            "image-size": image_size,
            "image-column": image_column,
            "label-column": label_column,
            "limits": limits.model_dump(mode="json"),
        },
    )


def find_prepared(
    source: str,
    out: str,
    *,
    image_size: int | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Manifest | None:
    """The manifest of the data set in `out` if it is that of this source with these options; None
    if `out` holds no finished data set. Reads every picture of the source, and converts none.

    Raises DataError when it is another one, saying what differs, or when it is damaged.
    """
    if not storage.exists(storage.join(out, MANIFEST_FILE)):
        return None
    try:
        known = load_manifest(out)
    except DataError as error:
        raise DataError(
            f"out must hold a data set that can be read, got {out} with a damaged {MANIFEST_FILE}. "
            "Choose another --out, or pass --overwrite to replace it."
        ) from error
    if known.origin is None:
        raise _other(out, known, "by a version that did not say what it read")
    limits = limits or Limits()
    opened = open_source(source, limits, image_column=image_column, label_column=label_column)
    digest = PictureDigest(opened)
    options: dict[str, Any] = {
        "name": name or opened.name,
        "image_size": image_size,
        "image_column": image_column,
        "label_column": label_column,
        "limits": limits,
    }
    wanted = origin_of(digest, **options)
    differences = list(_differing(known.origin, wanted))
    if differences:
        raise _other(out, known, f"with {' and '.join(differences)}")
    for picture in opened.pictures():
        digest.add(picture, read_content(picture).digest)
    if origin_of(digest, **options) != known.origin:
        raise _other(out, known, "from other pictures")
    _check_whole(out, known)
    return known


def _differing(known: Origin, wanted: Origin) -> Iterator[str]:
    """Options that are not what they were, as `image-size 16 where 8 is asked for`."""
    for name, value in wanted.options.items():
        before = known.options.get(name)
        if before == value:
            continue
        if name == "limits":
            yield "other limits"
        else:
            yield f"{name} {_shown(before)} where {_shown(value)} is asked for"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _other(out: str, known: Manifest, how: str) -> DataError:
    return DataError(
        f"out must be empty or hold this very data set, got {out} ({known.name}), prepared {how}. "
        "Choose another --out, or pass --overwrite to replace it."
    )


def _check_whole(out: str, known: Manifest) -> None:
    sizes = {entry.path: entry.num_bytes for entry in storage.list_entries(out)}
    for shard in known.shards:
        if sizes.get(shard.file) != shard.bytes:
            raise DataError(
                f"out must hold every shard of its data set, got {out} with {shard.file} "
                "missing or cut. Pass --overwrite to prepare it again."
            )
