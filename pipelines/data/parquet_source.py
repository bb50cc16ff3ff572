"""Parquet files with an image column: plain bytes, or the {bytes, path} structs of `datasets`."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen.pipelines.data.images import BrokenPictureError
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.source import SPLIT_NAMES, Picture, printable, split_in_name
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError

IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "class", "category", "fine_label", "coarse_label")
ROWS_AT_A_TIME = 64


class ParquetSource:
    """Reads every `.parquet` file of `paths` (relative to `uri`; "" is the file `uri` itself).

    The label may be an integer or a string; names of integer labels come from the metadata that
    Hugging Face `datasets` writes. Splits come from a column `split` or the files' names.
    """

    def __init__(
        self,
        uri: str,
        paths: list[str],
        limits: Limits,
        *,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self._uri, self._paths, self._limits = uri, sorted(paths), limits
        self.name = printable(PurePosixPath(uri.rstrip("/")).name).removesuffix(".parquet")
        schema = self._schema()
        self._image = _image_column(schema, image_column, uri)
        self._label = _label_column(schema, label_column, uri)
        self._split = "split" if _is_text(schema, "split") else None
        values, splits, self.num_pictures = self._scan()
        names = _stored_names(schema, self._label)
        self._labels, self.classes = _classes_of(values, names, self._label, limits, uri)
        self.splits = frozenset(splits)
        self.notes: tuple[str, ...] = (
            () if self._label else ("The source has no label column: all are of one class.",)
        )

    def pictures(self) -> Iterator[Picture]:
        for path in self._paths:
            row = 0
            for batch in self._batches(path, [self._image, self._label, self._split]):
                for values in batch.to_pylist():
                    yield self._picture(path, row, values)
                    row += 1

    def _picture(self, path: str, row: int, values: dict[str, Any]) -> Picture:
        label = self._labels.get(values[self._label]) if self._label else 0
        image = values[self._image]
        data = image.get("bytes") if isinstance(image, dict) else image

        def load() -> bytes:
            if data is None:
                raise BrokenPictureError("no picture in the row")
            return data

        key = f"{printable(path or PurePosixPath(self._uri).name)}#{row:08d}"
        return Picture(key, label, self._split_of(path, values), load)

    def _split_of(self, path: str, values: dict[str, Any]) -> str | None:
        if self._split:
            return SPLIT_NAMES.get(str(values[self._split]).lower())
        return split_in_name(path)

    def _scan(self) -> tuple[set, set[str], int]:
        """Returns the distinct labels, the splits and the number of rows, reading no picture."""
        values: set = set()
        splits: set[str] = set()
        num_rows = 0
        for path in self._paths:
            for batch in self._batches(path, [self._label, self._split], rows=65_536):
                num_rows += batch.num_rows
                if self._label:
                    values.update(batch[self._label].unique().to_pylist())
                if self._split:
                    splits.update(str(v).lower() for v in batch[self._split].unique().to_pylist())
            if not self._split and (split := split_in_name(path)):
                splits.add(split)
            if len(values) > self._limits.max_classes + 1:
                break
        return values, {SPLIT_NAMES[s] for s in splits if s in SPLIT_NAMES}, num_rows

    def _schema(self) -> pa.Schema:
        schemas = [self._open(path).schema_arrow for path in self._paths]
        for path, schema in zip(self._paths, schemas, strict=True):
            if schema.names != schemas[0].names:
                raise DataError(
                    "Parquet files of one source must have the same columns, got "
                    f"{schemas[0].names} in {self._paths[0]} and {schema.names} in {path}. "
                    "Prepare them one at a time."
                )
        return schemas[0]

    def _open(self, path: str) -> pq.ParquetFile:
        uri = storage.join(self._uri, path) if path else self._uri
        try:
            return pq.ParquetFile(storage.open_input(uri))
        except (pa.ArrowException, OSError) as error:
            raise _not_parquet(uri) from error

    def _batches(
        self, path: str, columns: list[str | None], rows: int = ROWS_AT_A_TIME
    ) -> Iterator[pa.RecordBatch]:
        wanted = [name for name in columns if name]
        file = self._open(path)
        if not wanted:
            yield pa.RecordBatch.from_pylist([{}] * file.metadata.num_rows)
            return
        try:
            yield from file.iter_batches(batch_size=rows, columns=wanted)
        except (pa.ArrowException, OSError) as error:
            raise _not_parquet(path or self._uri) from error


def _not_parquet(path: str) -> DataError:
    return DataError(
        f"source must be sound Parquet, got {printable(path)} that cannot be read. "
        "Copy or write the file again."
    )


def _image_column(schema: pa.Schema, wanted: str | None, uri: str) -> str:
    candidates = [field.name for field in schema if _holds_pictures(field.type)]
    if wanted is not None:
        if wanted not in candidates:
            raise DataError(
                f"image_column must be a binary column, got {wanted} in {uri}. "
                f"Binary columns: {', '.join(candidates) or 'none'}."
            )
        return wanted
    for name in (*IMAGE_COLUMNS, *candidates):
        if name in candidates:
            return name
    raise DataError(
        f"source must have an image column of bytes, got {', '.join(schema.names)} in {uri}. "
        "Store the pictures' files as binary."
    )


def _label_column(schema: pa.Schema, wanted: str | None, uri: str) -> str | None:
    if wanted is not None and wanted not in schema.names:
        raise DataError(
            f"label_column must be a column of {uri}, got {wanted}. "
            f"Columns: {', '.join(schema.names)}."
        )
    name = wanted or next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if name is not None and not _is_label(schema.field(name).type):
        raise DataError(
            f"label_column must hold integers or text, got {schema.field(name).type} in {name}. "
            "Choose another column."
        )
    return name


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_pictures(kind.field(index).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_label(kind.value_type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _is_text(schema: pa.Schema, name: str) -> bool:
    return name in schema.names and pa.types.is_string(schema.field(name).type)


def _stored_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """The class names that `datasets` keeps in the schema's metadata, if it did."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _classes_of(
    values: set, names: list[str] | None, label: str | None, limits: Limits, uri: str
) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Returns label value -> class index, and the class names. None and negatives have no class."""
    if label is None:
        return {}, ("all",)
    known = sorted(v for v in values if v is not None and not (_is_number(v) and v < 0))
    if len(known) > limits.max_classes:
        raise DataError(
            f"label_column must have at most {limits.max_classes} values, got more in {label} of "
            f"{uri}. Choose another column."
        )
    if names and all(_is_number(v) and v < len(names) for v in known):
        return {value: int(value) for value in known}, tuple(names)
    return {value: index for index, value in enumerate(known)}, tuple(str(v) for v in known)


def _is_number(value: object) -> bool:
    return isinstance(value, int)
