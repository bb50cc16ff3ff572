"""What a prepared data set holds, for people and programs."""

from typing import Any

from nitrogen.pipelines.data.manifest import SPLITS, load_manifest
from nitrogen.pipelines.data.shipped import resolve


def classes_table(uri: str) -> list[dict[str, Any]]:
    """One row per class of the data set at `uri`: label, name, and its pictures in each split."""
    manifest = load_manifest(resolve(uri))
    rows = []
    for label, name in enumerate(manifest.classes):
        counts = {split: manifest.class_counts[name].get(split, 0) for split in SPLITS}
        rows.append({"label": label, "name": name, **counts, "total": sum(counts.values())})
    return rows


def describe(uri: str) -> dict[str, Any]:
    """The facts of the manifest that a person asks for; every value is JSON."""
    place = resolve(uri)
    manifest = load_manifest(place)
    return {
        "name": manifest.name,
        "uri": place,
        "digest": manifest.digest,
        "image_size": list(manifest.image_size),
        "num_classes": manifest.num_classes,
        "splits": dict(manifest.splits),
        "num_shards": len(manifest.shards),
        "num_bytes": sum(shard.bytes for shard in manifest.shards),
        "channel_mean": list(manifest.channel_mean),
        "channel_std": list(manifest.channel_std),
        "num_broken": manifest.num_broken,
        "broken": [entry.model_dump() for entry in manifest.broken],
        "notes": list(manifest.notes),
    }
