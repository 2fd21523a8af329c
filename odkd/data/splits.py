"""Splits of positions into train, val and test, and into disjoint parts; stored as lists of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from odkd.common.files import write_atomic
from odkd.common.names import counted
from odkd.common.reading import read_text
from odkd.common.seeds import named_seed

SPLITS = ("train", "val", "test")


def split_positions(
    num_positions: int,
    *,
    shares: Sequence[float] = (0.7, 0.2, 0.1),
    seed: int,
    official: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Divide positions 0..n-1 into train, val and test; each is ascending, they are disjoint and complete.

    Positions are drawn at random in these shares, rounded so that the sizes add up (largest remainder; a split with
    a share above 0 gets at least one position). `official` names the split of each position (train, val or test);
    where it is given, it decides and nothing is drawn.

    Raises:
        ValueError: invalid shares, fewer positions than splits, or official splits that do not fit.
    """
    if official is not None:
        if len(official) != num_positions:
            raise ValueError(
                f"{counted(len(official), 'official split')} for {counted(num_positions, 'position')}; "
                "expected one per position"
            )
        if unknown := sorted(set(official) - set(SPLITS)):
            raise ValueError(f"official split {unknown[0]!r}; expected {', '.join(SPLITS)}: change dataset.splits")
        return {name: [p for p in range(num_positions) if official[p] == name] for name in SPLITS}
    sizes = _sizes(num_positions, shares)
    order = np.random.default_rng(named_seed(seed, "splits")).permutation(num_positions)
    cuts = np.split(order, np.cumsum(sizes)[:-1])
    return {name: sorted(cut.tolist()) for name, cut in zip(SPLITS, cuts, strict=True)}


def parts_of(positions: Sequence[int], *, num_parts: int, seed: int) -> list[list[int]]:
    """Divide positions into disjoint random parts, each ascending; sizes differ by at most one, larger parts first.

    Raises:
        ValueError: fewer positions than parts, no part, or a repeated position.
    """
    if num_parts < 1 or len(positions) < num_parts:
        raise ValueError(
            f"{counted(len(positions), 'position')} cannot be divided into {counted(num_parts, 'part')}; "
            f"expected 1 to {len(positions)}"
        )
    if len(set(positions)) < len(positions):
        raise ValueError("some positions occur more than once; the parts would not be disjoint")
    order = np.random.default_rng(named_seed(seed, "parts")).permutation(sorted(positions))
    return [sorted(part.tolist()) for part in np.array_split(order, num_parts)]


def labelled_and_rest(positions: Sequence[int], *, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Divide positions at random into those taken as labelled and the rest, each ascending.

    The labelled ones are a `share` of all, at least one and never all. The same seed gives nested sets: the labelled
    positions of a smaller share are among those of a larger one.

    Raises:
        ValueError: a share outside 0..1, or fewer than two positions.
    """
    if not 0 < share < 1 or len(positions) < 2:
        raise ValueError(
            f"stage.labelled_share={share} of {counted(len(positions), 'training image')}; expected a share "
            "between 0 and 1 "
            "of at least two images, or null to take all as labelled"
        )
    order = np.random.default_rng(named_seed(seed, "labelled")).permutation(sorted(positions))
    size = min(max(round(share * len(order)), 1), len(order) - 1)
    return sorted(order[:size].tolist()), sorted(order[size:].tolist())


def write_lists(folder: Path, lists: Mapping[str, Sequence[str]]) -> None:
    """Write each list to a file TITLE.txt, one name per line; each file is complete or absent.

    Raises:
        ValueError: a name that would not be read back unchanged.
    """
    for title, names in lists.items():
        if odd := next((name for name in names if not name or name.splitlines() != [name]), None):
            raise ValueError(f"{odd!r} of list {title} does not fit on a line; rename the file")
        write_atomic(folder / f"{title}.txt", "".join(f"{name}\n" for name in names).encode())


def read_lists(folder: Path) -> dict[str, list[str]]:
    """Return the lists of a folder by title, in alphabetical order of titles.

    Raises:
        ValueError: the folder holds no list.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(f"no lists in {folder}; expected train.txt, val.txt, test.txt with one name per line")
    return {path.stem: read_text(path).splitlines() for path in files if path.is_file()}


def _sizes(num_positions: int, shares: Sequence[float]) -> list[int]:
    if len(shares) != len(SPLITS) or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"shares {list(shares)}; expected one share each for {', '.join(SPLITS)}, from 0 to 1, adding up to 1"
        )
    wanted = [split for split, share in enumerate(shares) if share > 0]
    if num_positions < len(wanted):
        raise ValueError(f"{counted(num_positions, 'image')} cannot fill {len(wanted)} splits; change stage.shares")
    exact = [share * num_positions for share in shares]
    sizes = [int(size + 1e-9) for size in exact]
    by_remainder = sorted(wanted, key=lambda split: (round(sizes[split] - exact[split], 6), split))
    for split in by_remainder[: num_positions - sum(sizes)]:
        sizes[split] += 1
    for split in wanted:
        if not sizes[split]:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[split] = 1
    return sizes
