"""Which split a picture belongs to, when its source does not say."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from nitrogen.pipelines.data.convert import Outcome
from nitrogen.platform.errors import DataError

HELD_OUT_SHARE = 0.05
# The fewest of a split that KID can be taken of, where the source has enough.
MIN_HELD_OUT = 3
# Below this many pictures the shares are kept class by class, so that no split comes out empty.
SMALL_SOURCE = 1000


def hash_position(key: str) -> float:
    """Returns a number in [0, 1) that depends on the key alone."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def carved_splits(own: frozenset[str]) -> tuple[str, ...]:
    """The splits that must be taken out of the training pictures, given the source's own ones."""
    if "train" not in own:
        return ("test", "validation")
    return tuple(split for split in ("test", "validation") if split not in own)


def assign(
    waiting: Sequence[Outcome],
    following: Outcome | None,
    rest: Iterator[Outcome],
    own: frozenset[str],
) -> Iterator[tuple[Outcome, str]]:
    """Every picture with its split. following: the one after `waiting`; None if they are all."""
    if following is None:
        splits = split_small(
            [picture.key for picture in waiting],
            [picture.label or 0 for picture in waiting],
            [picture.split for picture in waiting],
            own,
        )
        yield from zip(waiting, splits, strict=True)
        return
    for pictures in (iter([*waiting, following]), rest):
        for picture in pictures:
            yield picture, split_by_hash(picture.key, picture.split, own)


def split_by_hash(key: str, own_split: str | None, own: frozenset[str]) -> str:
    """A picture keeps its split; of the others each missing split gets 5 %, by the key's hash.

    Adding pictures to a source never moves another picture.
    """
    carved = carved_splits(own)
    if "train" in own and own_split not in (None, "train"):
        return str(own_split)
    place = int(hash_position(key) / HELD_OUT_SHARE)
    return carved[place] if place < len(carved) else "train"


def split_small(
    keys: Sequence[str],
    labels: Sequence[int],
    own_splits: Sequence[str | None],
    own: frozenset[str],
) -> list[str]:
    """The same for a small source: each class gives 5 % (at least one picture) to each split.

    Classes of too few pictures give none, unless a split would stay below MIN_HELD_OUT. Raises
    DataError when there are not enough pictures for one in each split.
    """
    carved = carved_splits(own)
    kept = own if "train" in own else frozenset()
    splits = [s if s in kept else "train" for s in own_splits]
    pool = [i for i, split in enumerate(splits) if split == "train"]
    if len(pool) < 1 + len(carved):
        raise DataError(
            f"source must have at least {1 + len(carved)} readable pictures to train on, got "
            f"{len(pool)}. Add pictures."
        )
    by_class: dict[int, list[int]] = defaultdict(list)
    for i in sorted(pool, key=lambda i: (hash_position(keys[i]), keys[i])):
        by_class[labels[i]].append(i)
    for members in by_class.values():
        if len(members) > len(carved):
            share = max(1, round(HELD_OUT_SHARE * len(members)))
            for place, split in enumerate(carved):
                for i in members[place * share : (place + 1) * share]:
                    splits[i] = split
    return _filled(splits, pool, keys, labels, carved)


def _filled(
    splits: list[str],
    pool: list[int],
    keys: Sequence[str],
    labels: Sequence[int],
    carved: tuple[str, ...],
) -> list[str]:
    """Moves training pictures until each carved split has MIN_HELD_OUT, or its fair share: those of
    the largest class first, and the last one of a class only into an empty split."""
    enough = min(MIN_HELD_OUT, len(pool) // (1 + len(carved)))
    for split in carved:
        while splits.count(split) < enough:
            trained = [i for i in pool if splits[i] == "train"]
            counts = Counter(labels[i] for i in trained)
            chosen = min(trained, key=lambda i: (-counts[labels[i]], hash_position(keys[i])))
            if counts[labels[chosen]] == 1 and split in splits:
                break
            splits[chosen] = split
    return splits
