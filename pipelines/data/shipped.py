"""Where the data set that ships with the package lies, and how a source or URI names it."""

from pathlib import Path

from nitrogen.platform.errors import DataError

BUNDLED_PREFIX = "bundled:"
SCENES = "bundled:scenes"  # a generator and not a data set: prepare it first


def bundled_emoji() -> Path:
    """Returns the folder of the shipped emoji at 64x64: 26 classes, category x style.

    It is a prepared data set and can be read as it is. Licences: LICENSES.md beside the shards.
    """
    return Path(__file__).parent / "bundled" / "emoji64"


def resolve(uri: str) -> str:
    """Returns `uri`, or the folder that `bundled:emoji` stands for."""
    if not uri.startswith(BUNDLED_PREFIX):
        return uri
    if uri == SCENES:
        raise DataError(
            f"data must be prepared, got {uri}, which is generated. "
            f"Run: nitrogen data prepare {uri} --out data/scenes"
        )
    name = uri.removeprefix(BUNDLED_PREFIX)
    if name != "emoji":
        raise DataError(
            f"source must be a known bundled data set, got {uri}. "
            "Use bundled:emoji or bundled:scenes."
        )
    return str(bundled_emoji())
