"""How the images of a run over epochs are divided: splits, disjoint parts of each, and who relabels which part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from odkd.common.names import counted
from odkd.data.splits import labelled_and_rest, parts_of, split_positions, write_lists
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class SplitPlan:
    """Positions of each split (train, val, test), and of each part of each split.

    Args:
        splits: split -> positions.
        parts: split -> disjoint parts of its positions, one per student of a round.
        others: more lists that are written down, such as the images that count as labelled.
    """

    splits: Mapping[str, Sequence[int]]
    parts: Mapping[str, Sequence[Sequence[int]]]
    others: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def num_parts(self) -> int:
        return len(self.parts["train"])

    def relabelled_by(self, number: int) -> list[int]:
        """Return the positions that student `number` of a round relabels: the next part of every split."""
        return [p for name in self.splits for p in self.parts[name][(number + 1) % self.num_parts]]

    def write(self, folder: Path, stream: Stream) -> None:
        """Write each list as a file of image names."""
        parts = {f"train_part_{number}": part for number, part in enumerate(self.parts["train"])}
        lists = {**self.splits, **self.others, **(parts if self.num_parts > 1 else {})}
        write_lists(folder, {name: [stream.name_of(p) for p in positions] for name, positions in lists.items()})


def plan_splits(
    num_positions: int,
    official: Sequence[str] | None,
    *,
    shares: Sequence[float],
    labelled_share: float | None,
    learns_from_labelled: bool,
    num_parts: int,
    seed: int,
) -> SplitPlan:
    """Divide the positions of a stream of images.

    Args:
        num_positions: of the stream.
        official: split of each position, where the dataset says so.
        shares: of train, val and test, drawn at random where it does not.
        labelled_share: share of the training images that counts as labelled; None = no such division.
        learns_from_labelled: the training is on the labelled images; otherwise on the others.
        num_parts: parts of each split.
        seed: of the random division.

    Raises:
        ValueError: there are fewer training images than parts.
    """
    splits = split_positions(num_positions, shares=shares, seed=seed, official=official)
    others: dict[str, list[int]] = {}
    if labelled_share is not None:
        others["train_labelled"], rest = labelled_and_rest(splits["train"], share=labelled_share, seed=seed)
        splits["train"] = others["train_labelled"] if learns_from_labelled else rest
    parts = {name: _parts(positions, num_parts, seed) for name, positions in splits.items()}
    if min(map(len, parts["train"])) == 0:
        without = "" if labelled_share is None else " without a label"
        lower = "" if labelled_share is None else f", or lower stage.labelled_share={labelled_share}"
        raise ValueError(
            f"{counted(len(splits['train']), 'training picture')}{without} cannot be split into "
            f"stage.num_parts={num_parts}; "
            f"lower it, or dataset.stride, or give stage.shares more to train{lower}"
        )
    return SplitPlan(splits, parts, others)


def _parts(positions: Sequence[int], num_parts: int, seed: int) -> list[list[int]]:
    """Return `parts_of` the positions; if there are fewer positions than parts, the last parts are empty."""
    if len(positions) < num_parts:
        return [list(positions[number : number + 1]) for number in range(num_parts)]
    return parts_of(positions, num_parts=num_parts, seed=seed)
