"""A teacher made of teachers: each pixel by a vote, by the mean of probabilities, or each class by its expert.

Its classes are the dataset's, because its members may have classes of their own: what a member says is mapped to the
dataset's classes before it counts. Pixels that a member ignores, also because their class is none of the dataset's,
are no vote of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.ignore import IGNORE
from odkd.common.names import nearest
from odkd.common.settings import NonNegativeFloat
from odkd.data.labels import resize_nearest
from odkd.teachers import SampledFrames, SoftTeacher, clip_frames_of
from odkd.teachers.member import Member, checked_labels, label_of, parts_of, probabilities_of

REST = "*"  # key of `experts` for all classes that no other entry names


class Ensemble:
    """Several teachers as one.

    Args:
        members: name -> member, in the order that decides ties: the first of the likeliest counts.
        classes: names of the dataset's classes.
        vote: "majority" = the class with the most votes; "mean" = the likeliest class of the mean of the members'
            probabilities, in which a class that a member does not know counts as 0; "by_class" = a vote for a class
            counts only if it is of an expert for that class. Pixels without a vote are ignored.
        weights: of the members, for majority and mean; those that are left out weigh 1.
        experts: class -> member, for by_class; "*" = every class without an entry.
        mirrored: every member also labels the mirrored frame, and what it says of it counts as much.

    Raises:
        ValueError: weights or experts name what there is not, or do not go with the vote; a member has no
            probabilities and `vote` is "mean"; or members hold their state for different numbers of frames.
    """

    def __init__(
        self,
        members: Mapping[str, Member],
        classes: Sequence[str],
        *,
        vote: Literal["majority", "mean", "by_class"] = "majority",
        weights: dict[str, NonNegativeFloat] | None = None,
        experts: dict[str, str] | None = None,
        mirrored: bool = False,
    ) -> None:
        self.classes = list(classes)
        self.num_classes = len(self.classes)
        self._members, self._is_mean = dict(members), vote == "mean"
        if weights and vote == "by_class":
            raise ValueError("teacher.weights is for vote=majority and vote=mean; leave it out, or choose one of them")
        if bool(experts) != (vote == "by_class"):
            raise ValueError("teacher.experts and teacher.vote=by_class go together; set both or neither")
        self._weights_MC = self._experts(experts) if experts else self._weighed(weights or {})
        for name, member in self._members.items():
            if self._is_mean and not isinstance(member.teacher, SoftTeacher):
                raise ValueError(f"teacher.members.{name} gives no probabilities; choose teacher.vote=majority")
        clips = {name: frames for name, member in self._members.items() if (frames := clip_frames_of(member.teacher))}
        if len(set(clips.values())) > 1:
            told = ", ".join(f"teacher.members.{name}.clip_frames={frames}" for name, frames in clips.items())
            raise ValueError(f"{told}: members with state need clips of one length; set the same for all")
        self._mirrors = (False, True) if mirrored else (False,)
        self._votes_VC = np.tile(self._weights_MC, (len(self._mirrors), 1))  # of all that `_maps` yields of a frame
        for name, member in self._members.items() if mirrored else ():
            if not member.teacher.needs_images or clips.get(name):
                what = "keeps a state along the video" if clips.get(name) else "does not look at images"
                raise ValueError(f"teacher.mirrored=true, and teacher.members.{name} {what}: set false")
        self.clip_frames = max(clips.values(), default=0)

    @property
    def needs_images(self) -> bool:
        """True if one of the members does."""
        return any(member.teacher.needs_images for member in self._members.values())

    @property
    def needs_groundtruth(self) -> bool:
        """True if one of the members does."""
        return any(getattr(member.teacher, "needs_groundtruth", False) for member in self._members.values())

    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return label maps uint8 [B, H, W]."""
        if self._is_mean:
            return self._mean(frames)[0]
        return np.stack([self._winners(maps_MHW) for maps_MHW in self._maps(frames)])

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps, and the mean of probabilities, or the shares of votes, averaged over the pixels of `size`.

        A pixel of `size` in which nobody has voted has equal probabilities.
        """
        if self._is_mean:
            labels_BHW, shares_BKHW = self._mean(frames)
            return labels_BHW, _pooled(shares_BKHW, size)
        labels, shares = [], []
        for maps_MHW in self._maps(frames):
            labels.append(self._winners(maps_MHW))
            votes_KHW = torch.zeros(self.num_classes + 1, *maps_MHW.shape[1:])
            for map_HW, weights_C in zip(maps_MHW, self._votes_VC, strict=True):
                ids_HW = torch.from_numpy(np.minimum(map_HW, self.num_classes).astype(np.int64))  # the last: no vote
                votes_HW = torch.from_numpy(weights_C[map_HW])
                votes_KHW.scatter_add_(0, ids_HW[None], votes_HW[None])
            votes_KHW = votes_KHW[:-1]
            shares.append(_pooled((votes_KHW / votes_KHW.sum(0).clamp_min(1e-9))[None], size)[0])
        return np.stack(labels), torch.stack(shares)

    # --- what the members say

    def _maps(self, frames: SampledFrames) -> Iterator[np.ndarray]:
        """Yield for each frame the members' label maps with the ensemble's ids, uint8 [M, H, W]."""
        answers = [
            np.concatenate([label_of(name, member, part, is_mirrored) for part in parts_of(frames, member.batch_size)])
            for is_mirrored in self._mirrors
            for name, member in self._members.items()
        ]
        size = answers[0].shape[1:] if frames.images_BHWC is None else frames.images_BHWC.shape[1:3]
        for number in range(len(frames.frame_numbers)):
            yield np.stack([resize_nearest(answer_BHW[number], (size[0], size[1])) for answer_BHW in answers])

    def _winners(self, maps_MHW: np.ndarray) -> np.ndarray:
        """Return the class with the most weight, uint8 [H, W]; of equal ones, that of the first member."""
        votes_MHW = np.stack([weights_C[map_HW] for weights_C, map_HW in zip(self._votes_VC, maps_MHW, strict=True)])
        best_HW = np.full(maps_MHW.shape[1:], IGNORE, np.uint8)
        most_HW = np.zeros(maps_MHW.shape[1:], np.float32)
        for map_HW in maps_MHW:
            agreeing_HW = np.where(maps_MHW == map_HW, votes_MHW, 0).sum(0, dtype=np.float32)
            is_better = (agreeing_HW > most_HW) & (map_HW != IGNORE)
            best_HW[is_better], most_HW[is_better] = map_HW[is_better], agreeing_HW[is_better]
        return best_HW

    def _mean(self, frames: SampledFrames) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps, and the mean of the members' probabilities, float32 [B, K, H, W]; all 0 where no vote."""
        assert frames.images_BHWC is not None, "members with probabilities look at images"
        size = (int(frames.images_BHWC.shape[1]), int(frames.images_BHWC.shape[2]))
        total_BKHW: torch.Tensor | None = None
        for (name, member), weights_C in zip(self._members.items(), self._weights_MC, strict=True):
            weight, found = float(weights_C[0]), []
            for part in parts_of(frames, member.batch_size):
                labels_BHW, own_BKHW = probabilities_of(member, part, size, is_mirrored=True in self._mirrors)
                ids_BHW = torch.from_numpy(member.ids[checked_labels(name, member, labels_BHW)]).to(own_BKHW.device)
                known = np.flatnonzero(member.ids[: own_BKHW.shape[1]] != IGNORE)
                places = torch.from_numpy(member.ids[known].astype(np.int64)).to(own_BKHW.device)
                mapped_BKHW = own_BKHW.new_zeros(len(own_BKHW), self.num_classes, *size)
                mapped_BKHW.index_add_(1, places, own_BKHW[:, torch.from_numpy(known).to(own_BKHW.device)])
                mapped_BKHW /= mapped_BKHW.sum(1, keepdim=True).clamp_min(1e-9)
                found.append(mapped_BKHW * (weight * (ids_BHW != IGNORE))[:, None])
            own_BKHW = torch.cat(found)
            total_BKHW = own_BKHW if total_BKHW is None else total_BKHW + own_BKHW
        assert total_BKHW is not None
        sums_BHW = total_BKHW.sum(1)
        best_BHW = total_BKHW.max(1).indices.to(torch.uint8)
        best_BHW[sums_BHW <= 0] = IGNORE
        return best_BHW.cpu().numpy(), total_BKHW / sums_BHW.clamp_min(1e-9)[:, None]

    # --- whose votes count

    def _weighed(self, weights: Mapping[str, float]) -> np.ndarray:
        """Return the weight of each member's vote for each class id, float32 [M, 256]; 0 for 255."""
        for name in weights:
            self._check_member(f"teacher.weights.{name}", name)
        column = np.array([weights.get(name, 1.0) for name in self._members], np.float32)
        if not column.any():
            raise ValueError("teacher.weights are all 0; expected one above 0")
        table_MC = np.tile(column[:, None], (1, 256))
        table_MC[:, IGNORE] = 0
        return table_MC

    def _experts(self, experts: Mapping[str, str]) -> np.ndarray:
        """Return the same for experts: 1 for their own classes, 0 for all others."""
        table_MC, names = np.zeros((len(self._members), 256), np.float32), list(self._members)
        for label, name in experts.items():
            if label != REST and label not in self.classes:
                raise ValueError(
                    f"teacher.experts names {label}, which is no class of the dataset{nearest(label, self.classes)} "
                    f"(its classes: {', '.join(self.classes)})"
                )
            self._check_member(f"teacher.experts.{label}", name)
        if lacking := [label for label in self.classes if label not in experts and REST not in experts]:
            raise ValueError(f"teacher.experts has no member for {', '.join(lacking)}; name one, or one for '*'")
        for number, label in enumerate(self.classes):
            name = experts.get(label, experts.get(REST, ""))
            if label in experts and number not in self._members[name].ids[:IGNORE]:
                raise ValueError(f"teacher.experts.{label}={name}, and {name} does not know {label}; name another")
            table_MC[names.index(name), number] = 1
        return table_MC

    def _check_member(self, key: str, name: str) -> None:
        if name not in self._members:
            raise ValueError(
                f"{key}: there is no member {name}{nearest(name, self._members)} (members: {', '.join(self._members)})"
            )


def _pooled(shares_BKHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return shares averaged over the pixels of `size`, whose sum is 1 again; equal ones where all are 0."""
    pooled_BKhw = F.adaptive_avg_pool2d(shares_BKHW.float(), size) + torch.finfo(torch.float32).tiny
    return pooled_BKhw / pooled_BKhw.sum(1, keepdim=True)
