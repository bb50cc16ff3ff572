"""The step `prepare`: from a source of pictures to the data set that the other steps read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from nitrogen.pipelines.data.fingerprint import fingerprint as source_fingerprint
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.manifest import MANIFEST_FILE, Manifest, load_manifest
from nitrogen.platform import storage

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext


class PrepareConfig(BaseModel):
    """What to read and how.

    source        folder of class folders, Parquet, IDX files, a prepared data set (local or s3://),
                  bundled:emoji or bundled:scenes
    image_size    side in pixels that every picture is fitted to; None keeps the source's one size
    name          name of the data set; None takes the source's
    out           folder or s3:// that all workers can reach; the shards go to a folder in it that
                  is named after the step's key. None: the step's own directory
    image_column, label_column   of a Parquet source; None finds them
    limits        bounds on the source
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field("bundled:emoji", min_length=1)
    image_size: int | None = Field(32, ge=8, le=8192)
    name: str | None = None
    out: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    limits: Limits = Limits()


def fingerprint(config: PrepareConfig) -> dict[str, Any]:
    """What the step reads from outside the recipe: changes when a file of the source does."""
    return {"source": source_fingerprint(config.source)}


def run(config: PrepareConfig, context: StepContext) -> dict[str, Any]:
    """Prepares the data set and returns where it is and what it holds.

    Keys: data_uri, name, digest, image_size [h, w], num_classes, classes, class_counts, splits,
    channel_mean, channel_std, num_broken, notes. Raises DataError or StorageError.
    """
    if config.out is None:
        data_uri, manifest = str(context.dir / "data"), None
    else:
        data_uri = storage.join(config.out, context.key[:12] or "data")
        manifest = _finished(data_uri) if context.key else None
    if manifest is None:
        manifest = _prepare(config, context, data_uri)
    if manifest.num_broken:
        context.progress.message(
            f"pictures that could not be used: {manifest.num_broken}; the first: "
            f"{manifest.broken[0].key} ({manifest.broken[0].reason})"
        )
    return {
        "data_uri": data_uri,
        "name": manifest.name,
        "digest": manifest.digest,
        "image_size": list(manifest.image_size),
        "num_classes": manifest.num_classes,
        "classes": list(manifest.classes),
        "class_counts": manifest.class_counts,
        "splits": dict(manifest.splits),
        "channel_mean": list(manifest.channel_mean),
        "channel_std": list(manifest.channel_std),
        "num_broken": manifest.num_broken,
        "notes": list(manifest.notes),
    }


def _prepare(config: PrepareConfig, context: StepContext, data_uri: str) -> Manifest:
    from nitrogen.pipelines.data.prepare import prepare

    def show(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            context.progress.update(step=done, total=total)

    return prepare(
        config.source,
        data_uri,
        image_size=config.image_size,
        name=config.name,
        limits=config.limits,
        image_column=config.image_column,
        label_column=config.label_column,
        overwrite=True,
        on_progress=show,
        on_message=context.progress.message,
    )


def _finished(data_uri: str) -> Manifest | None:
    """The data set that an earlier run with the same key has put there, if it did."""
    if not storage.exists(storage.join(data_uri, MANIFEST_FILE)):
        return None
    return load_manifest(data_uri)
