"""Where the data set that ships with the package lies, and how a source or URI names it."""

from pathlib import Path

from nitrogen.platform.errors import DataError

BUNDLED_PREFIX = "bundled:"


def bundled_emoji() -> Path:
    """Returns the folder of the shipped emoji at 64x64: 26 classes, category x style.

    It is a prepared data set and can be read as it is. Licences: LICENSES.md beside the shards.
    """
    return Path(__file__).parent / "bundled" / "emoji64"


def resolve(uri: str) -> str:
    """Returns `uri`, or the folder that `bundled:emoji` stands for."""
    if not uri.startswith(BUNDLED_PREFIX):
        return uri
    name = uri.removeprefix(BUNDLED_PREFIX)
    if name != "emoji":
        raise DataError(
            f"source must be a known bundled data set, got {uri}. The only one is bundled:emoji."
        )
    return str(bundled_emoji())
