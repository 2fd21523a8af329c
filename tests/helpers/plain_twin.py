"""A run over epochs in plain loops: its frames, labels and lists as tensors, and students trained on them literally."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from odkd.common.seeds import named_seed
from odkd.data.splits import read_lists
from odkd.students.tinynet import TinyNet
from odkd.training.epochs import seed_name

LossOf = Callable[[torch.Tensor, list[int]], torch.Tensor]  # (logits_BKHW, positions) -> loss


class PlainTwin:
    """The data of a run of TinyNet in float32 with seed 0 and batches of 4.

    Args:
        run: its folder.
    """

    def __init__(self, run: Path) -> None:
        from odkd.config.parts import Parts

        self.parts = Parts(OmegaConf.load(run / "config.yaml"))  # type: ignore[arg-type]
        stream = self.parts.stream
        self.names = [f"{stream.videos[v].stem}/{f:06d}" for v, f in zip(stream.video_of, stream.frame_of, strict=True)]
        self.lists = {
            title: [self.names.index(n) for n in names] for title, names in read_lists(run / "splits").items()
        }
        images = [torch.from_numpy(self.parts.frames.read([p])[0].copy()) for p in range(len(stream))]
        self.images_NCHW = (torch.stack(images).float() / 255).permute(0, 3, 1, 2).contiguous()
        taught = [self.parts.labels.read(p) for p in range(len(stream))]
        self.taught_NHW = torch.from_numpy(np.stack(taught)).long()

    def student(self) -> TinyNet:
        """Return a student with the initial weights of the run."""
        torch.manual_seed(named_seed(0, "student"))
        return TinyNet(11)

    def classes_of(self, student: TinyNet, position: int) -> torch.Tensor:
        student.eval()
        with torch.no_grad():
            return student(self.images_NCHW[[position]]).argmax(1)[0]

    def miou(self, student: TinyNet, labels_NHW: torch.Tensor) -> float:
        """Return the mIoU on the validation split, from one count over all its pixels."""
        ious = torch.zeros(11, 2, dtype=torch.int64)
        for p in self.lists["val"]:
            predicted = self.classes_of(student, p)
            for k in range(11):
                one, other = predicted == k, labels_NHW[p] == k
                ious[k] += torch.stack([(one & other).sum(), (one | other).sum()])
        known = ious[ious[:, 1] > 0].double()
        return (known[:, 0] / known[:, 1]).mean().item()

    def train(
        self,
        name: str,
        positions: Sequence[int],
        labels_NHW: torch.Tensor,
        optimizer: Callable[..., torch.optim.Optimizer],
        loss_of: LossOf | None = None,
    ) -> TinyNet:
        """Return the better student of two epochs, by its mIoU against the labels that it learns from.

        Args:
            optimizer: makes one of parameters.
            loss_of: None = cross-entropy on `labels_NHW`.
        """
        student = self.student()
        updates = optimizer(student.parameters())
        best, best_score = None, -1.0
        seed = named_seed(0, "training", seed_name(name))
        for epoch in range(2):
            torch.manual_seed(named_seed(seed, "epoch", epoch))
            order = torch.randperm(
                len(positions), generator=torch.Generator().manual_seed(named_seed(seed, "order", 0, epoch))
            )
            student.train()
            for start in range(0, len(positions), 4):
                chosen = [positions[i] for i in order[start : start + 4]]
                logits = student(self.images_NCHW[chosen])
                if loss_of is None:
                    loss = torch.nn.functional.cross_entropy(logits, labels_NHW[chosen])
                else:
                    loss = loss_of(logits, chosen)
                updates.zero_grad()
                loss.backward()
                updates.step()
            if (score := self.miou(student, labels_NHW)) > best_score:
                best, best_score = {k: v.clone() for k, v in student.state_dict().items()}, score
        student.load_state_dict(best)
        return student
