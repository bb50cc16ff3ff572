"""From a source of pictures to a prepared data set: `nitrogen data prepare SOURCE --out URI`."""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import PIL

from nitrogen.pipelines.code_digest import code_digests
from nitrogen.pipelines.data.convert import Outcome, convert
from nitrogen.pipelines.data.fingerprint import fingerprint
from nitrogen.pipelines.data.images import NOTES
from nitrogen.pipelines.data.kept_pictures import KeptPictures
from nitrogen.pipelines.data.limits import Limits
from nitrogen.pipelines.data.manifest import BrokenImage, Manifest, Origin
from nitrogen.pipelines.data.places import check_places
from nitrogen.pipelines.data.readers import open_source
from nitrogen.pipelines.data.repeat import PictureDigest, origin_of
from nitrogen.pipelines.data.shards import (
    MAX_LISTED_BROKEN,
    ShardWriter,
    check_target,
    clear_target,
)
from nitrogen.pipelines.data.source import Source
from nitrogen.pipelines.data.splits import SMALL_SOURCE, assign
from nitrogen.platform import storage
from nitrogen.platform.errors import DataError, NitrogenError

# How much of a small source may wait in memory until its splits are decided.
MAX_WAITING_BYTES = 512 * 2**20

Progress = Callable[[int, int], None]
Message = Callable[[str], None]


def prepare(
    source: str,
    out: str,
    *,
    image_size: int | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    on_message: Message | None = None,
) -> Manifest:
    """Reads `source` and writes Parquet shards and, last, `manifest.json` to `out`.

    source: a folder with one sub-folder per class, Parquet, IDX files (all local or on S3), another
    prepared data set, or `bundled:emoji`. out: a folder or `s3://` URI; a preparation of the same
    that was cut off there goes on (`kept_pictures`), a finished data set is replaced only with
    `overwrite` (`repeat.find_prepared` knows one that is what is asked for). image_size: every
    picture is fitted into image_size x image_size (see `fit_square`); without it all pictures must
    be squares of one size. The same source gives the same digest.

    Raises DataError when the source holds nothing usable, StorageError when a place fails. Single
    broken pictures are skipped, counted and listed in the manifest.
    """
    source, out = str(source), str(out)
    if image_size is not None and not 1 <= image_size <= 8192:
        raise DataError(f"image_size must be 1 to 8192, got {image_size}. Choose a power of two.")
    check_places(source, out)
    limits = limits or Limits()
    opened = open_source(source, limits, image_column=image_column, label_column=label_column)
    if opened.num_pictures > limits.max_pictures:
        raise DataError(
            f"source must have at most {limits.max_pictures} pictures, got {opened.num_pictures}. "
            "Raise limits.max_pictures or prepare a part of it."
        )
    check_target(out, overwrite=overwrite)
    name = name or opened.name
    remember = partial(
        origin_of,
        name=name,
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        limits=limits,
    )
    kept = KeptPictures(out, _identity(source, remember(PictureDigest(opened))))
    conversion = _Conversion(opened, image_size, limits, on_progress, on_message, remember, kept)
    return conversion.run(out, name)


def _identity(source: str, unread: Origin) -> str:
    """Of what was converted before: the same source, options and code, or it is of no use."""
    code = code_digests("nitrogen.pipelines.data.convert")
    text = json.dumps([fingerprint(source), unread.model_dump(), PIL.__version__, code])
    return hashlib.sha256(text.encode()).hexdigest()


class _Conversion:
    def __init__(
        self,
        source: Source,
        image_size: int | None,
        limits: Limits,
        on_progress: Progress | None,
        on_message: Message | None,
        remember: Callable[[PictureDigest], Origin],
        kept: KeptPictures,
    ) -> None:
        self._digest, self._remember = PictureDigest(source), remember
        self._source, self._image_size, self._limits = source, image_size, limits
        self._on_progress = on_progress or (lambda done, total: None)
        self._on_message = on_message or (lambda text: None)
        self._kept = kept
        self._first: Outcome | None = None
        self._broken: list[BrokenImage] = []
        self._traits: Counter[str] = Counter()

    def run(self, out: str, name: str) -> Manifest:
        try:
            manifest = self._run(out, name)
        except DataError:  # what is wrong with the source will be so next time
            with contextlib.suppress(NitrogenError):
                self._kept.clear()
                storage.remove_empty_folder(out)
            raise
        except KeyboardInterrupt:
            with contextlib.suppress(NitrogenError):
                self._kept.write()
            raise
        self._kept.clear()
        return manifest

    def _run(self, out: str, name: str) -> Manifest:
        usable = self._usable()
        waiting = list(_bounded(usable, SMALL_SOURCE, MAX_WAITING_BYTES))
        if not waiting:
            raise DataError(self._nothing_usable())
        following = next(usable, None)
        # Only now, when the source has proved to be usable, does an older data set give way.
        clear_target(out)
        try:
            return self._write(out, name, assign(waiting, following, usable, self._source.splits))
        except BaseException:
            # Without a manifest nobody reads it, but nobody should have to wonder what it is.
            with contextlib.suppress(NitrogenError):
                clear_target(out)
                storage.remove_empty_folder(out)
            raise

    def _write(self, out: str, name: str, assigned: Iterable[tuple[Outcome, str]]) -> Manifest:
        assert self._first is not None
        writer = ShardWriter(out, classes=self._source.classes, image_size=self._first.size)
        for picture, split in assigned:
            assert picture.label is not None  # or it would be broken
            writer.add(
                split=split,
                key=picture.key,
                label=picture.label,
                size=picture.size,
                moments=picture.moments,
                encoded=picture.encoded,
            )
        notes = [*self._source.notes, *self._tell(writer)]
        origin = self._remember(self._digest)
        return writer.finish(name=name, notes=notes, broken=self._broken, origin=origin)

    def _usable(self) -> Iterator[Outcome]:
        """The pictures that can be used, in the source's order; the others are noted."""
        for outcome in self._outcomes():
            if outcome.reason is not None:
                self._broken.append(BrokenImage(key=outcome.key, reason=outcome.reason))
                continue
            self._check_size(outcome)
            self._traits.update(outcome.traits)
            yield outcome

    def _outcomes(self) -> Iterator[Outcome]:
        num_kept = 0
        for done, picture in enumerate(self._source.pictures(), 1):
            outcome = self._kept.take(picture)
            if outcome is not None:
                num_kept += 1
            else:
                if num_kept == done - 1 > 0:
                    self._on_message(f"{num_kept} pictures were converted before the cut-off")
                outcome = convert(picture, self._image_size, self._limits)
                self._kept.add(outcome)
            self._digest.add(picture, outcome.content)
            yield outcome
            self._on_progress(done, self._source.num_pictures)

    def _check_size(self, picture: Outcome) -> None:
        height, width = picture.size
        if self._first is None:
            self._first = picture
        first_height, first_width = self._first.size
        if picture.size != self._first.size:
            raise DataError(
                "image_size must be given for a source of mixed sizes, got "
                f"{first_width}x{first_height} ({self._first.key}) and {width}x{height} "
                f"({picture.key}). Pass --image-size, for example --image-size 32."
            )
        if height != width:
            raise DataError(
                "image_size must be given for pictures that are not square, got "
                f"{width}x{height} ({picture.key}). Pass --image-size, for example --image-size 32."
            )

    def _nothing_usable(self) -> str:
        if not self._broken:
            return "source must hold pictures, got none. Check the path."
        first = self._broken[0]
        return (
            f"source must hold pictures that can be read, got {len(self._broken)} that cannot "
            f"(first: {first.key}, {first.reason}). Check the files."
        )

    def _tell(self, writer: ShardWriter) -> Iterator[str]:
        for trait, text in NOTES.items():
            if self._traits[trait]:
                yield f"{text}: {self._traits[trait]} pictures."
        if self._broken:
            listed = (
                f"the first {MAX_LISTED_BROKEN:,}" if self._broken[MAX_LISTED_BROKEN:] else "all"
            )
            yield f"Not usable and skipped: {len(self._broken)} pictures; `broken` lists {listed}."
        untrained = writer.classes_without("train")
        if untrained:
            yield f"Classes without a training picture: {', '.join(untrained[:20])}."
        if self._source.splits and "train" not in self._source.splits:
            yield "The source's own splits have no training pictures, so they were set aside."


def _bounded(pictures: Iterable[Outcome], count: int, max_bytes: int) -> Iterator[Outcome]:
    """The first `count` pictures, or fewer when their bytes reach `max_bytes`."""
    num_bytes = 0
    for picture in islice(pictures, count):
        num_bytes += len(picture.encoded)
        yield picture
        if num_bytes >= max_bytes:
            return
