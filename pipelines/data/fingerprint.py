"""What tells a source from any other without reading its pictures: names, sizes and versions."""

import hashlib
import json

from nitrogen.pipelines.data.manifest import load_manifest
from nitrogen.pipelines.data.shipped import BUNDLED_PREFIX, SCENES, bundled_emoji, resolve
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError


def fingerprint(source: str) -> str:
    """Changes when a file of the source does. Raises DataError if nothing is there."""
    if source == SCENES:  # generated from the emoji, by code that has a digest of its own
        return load_manifest(str(bundled_emoji())).digest
    uri = resolve(source)
    if source.startswith(BUNDLED_PREFIX):
        return load_manifest(uri).digest
    entries = storage.list_entries(uri)
    if not entries and not storage.exists(uri):
        raise DataError(f"prepare.source must exist, got {source}. Check the path.")
    entries = entries or [storage.entry_of(uri)]
    text = json.dumps([list(entry) for entry in entries])
    return hashlib.sha256(text.encode()).hexdigest()
