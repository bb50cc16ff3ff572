"""The manifest of a prepared data set: what `manifest.json` says and how it is checked.

A prepared data set is a folder (or an `s3://` prefix) of Parquet shards and one `manifest.json`,
which is written last: a folder without it is half-written and is never read.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from nitrogen.platform import storage
from nitrogen.platform.errors import DataError, StorageError

MANIFEST_FILE = "manifest.json"
MANIFEST_VERSION = 1
SPLITS = ("train", "validation", "test")
SHARD_NAME = re.compile(r"^(train|validation|test)-\d{5}\.parquet$")


class ShardEntry(BaseModel):
    """One Parquet file: its split, its number of pictures, its size and its sha256."""

    model_config = ConfigDict(frozen=True)

    file: str
    split: str
    rows: int
    bytes: int
    sha256: str

    @field_validator("file")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not SHARD_NAME.match(value):
            raise ValueError(f"file must look like train-00000.parquet, got {value!r}")
        return value


class BrokenImage(BaseModel):
    """A picture of the source that was skipped, and why."""

    model_config = ConfigDict(frozen=True)

    key: str
    reason: str


class Origin(BaseModel):
    """What a data set was made from: a digest of all pictures of the source, and the options."""

    model_config = ConfigDict(frozen=True)

    pictures: str
    options: dict[str, Any]


class Manifest(BaseModel):
    """What a prepared data set holds.

    `image_size` is [height, width]; `channel_mean` and `channel_std` are over the pixels of the
    train split scaled to [-1, 1]; `class_counts` is class -> split -> number of pictures;
    `num_broken` counts every skipped picture, `broken` lists the first ones; `digest` identifies
    the content: sha256 over the sha256 of every shard, the classes and the picture size; `origin`
    is what it was made from, None in manifests of older versions.
    """

    model_config = ConfigDict(frozen=True)

    version: int = MANIFEST_VERSION
    name: str
    image_size: tuple[int, int]
    channels: int = 3
    num_classes: int
    classes: tuple[str, ...]
    splits: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    shards: tuple[ShardEntry, ...]
    schema_: dict[str, str]
    channel_mean: tuple[float, float, float]
    channel_std: tuple[float, float, float]
    num_broken: int = 0
    broken: tuple[BrokenImage, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str
    origin: Origin | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_schema_key(cls, values: object) -> object:
        # `schema` is a method name of pydantic models, so the field carries an underscore.
        if isinstance(values, dict) and "schema" in values:
            values = {**values, "schema_": values["schema"]}
            del values["schema"]
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if self.num_classes != len(self.classes):
            raise ValueError("num_classes must equal the number of classes")
        for split in self.splits:
            rows = sum(shard.rows for shard in self.shards if shard.split == split)
            if rows != self.splits[split]:
                raise ValueError(f"splits.{split} must equal the rows of its shards")
        if self.digest != content_digest(self.shards, self.classes, self.image_size):
            raise ValueError("digest must match the shards that the manifest lists")
        return self

    def to_json(self) -> str:
        """The text of `manifest.json`, keys in a fixed order."""
        values = self.model_dump(mode="json")
        values["schema"] = values.pop("schema_")
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def content_digest(
    shards: Iterable[ShardEntry], classes: Iterable[str], image_size: Iterable[int]
) -> str:
    """Returns the hex sha256 that identifies the content of a prepared data set."""
    body = {
        "shards": [[shard.file, shard.sha256] for shard in shards],
        "classes": list(classes),
        "image_size": list(image_size),
    }
    return hashlib.sha256(json.dumps(body, ensure_ascii=False).encode()).hexdigest()


def load_manifest(uri: str) -> Manifest:
    """Reads and checks `manifest.json` of the prepared data set at `uri`.

    Raises DataError when there is none (no data set, or half-written) or when it is not valid;
    StorageError when the place cannot be reached.
    """
    path = storage.join(uri, MANIFEST_FILE)
    if not storage.exists(path):
        raise DataError(
            f"data must be a prepared data set, got {uri} without {MANIFEST_FILE}. "
            "Run `nitrogen data prepare SOURCE --out URI` (again, if it was cut off)."
        )
    try:
        values = json.loads(storage.read_bytes(path))
        if isinstance(values, dict) and values.get("version") != MANIFEST_VERSION:
            raise DataError(
                f"manifest version must be {MANIFEST_VERSION}, got {values.get('version')!r} at "
                f"{path}. Prepare the data set again with this version of nitrogen."
            )
        return Manifest.model_validate(values)
    except (ValueError, ValidationError) as error:
        raise DataError(
            f"manifest must be valid, got {path} with {_first_problem(error)}. "
            "Prepare the data set again."
        ) from error
    except StorageError:
        raise


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        return f"{where}: {first['msg']}"
    return "text that is not JSON"
