"""A straightforward implementation of online distillation, to compare odkd's scores and speed with.

For each sample in each epoch, the video is opened, sought and decoded up to the frame, and the label file is loaded;
the scores are computed by scikit-learn on the CPU, frame by frame. Deliberately simple; it shares no code with odkd.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import normalize, to_tensor

IGNORE = 255


@dataclass(frozen=True)
class Sample:
    """A frame of a constant-rate video, counted from 0, and its label map, an .npz file with key `seg`."""

    video: Path
    frame_number: int
    label: Path


@dataclass(frozen=True)
class Result:
    """Scores of one iteration over all pixels of its test window; NaN for a class in neither map."""

    num_learned: int
    accuracy: float
    miou: float
    class_iou: list[float]


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Dataset of images float32 [3, H, W] and label maps int64 [H, W]."""

    def __init__(self, samples: Sequence[Sample], mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        self.samples, self.mean, self.std = samples, mean, std

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        image_CHW = to_tensor(read_frame(sample.video, sample.frame_number))
        if self.mean is not None and self.std is not None:
            image_CHW = normalize(image_CHW, list(self.mean), list(self.std))
        return image_CHW, torch.from_numpy(np.load(sample.label)["seg"].astype(np.int64))


def read_frame(path: Path, frame_number: int) -> np.ndarray:
    """Return a frame as RGB, uint8 [H, W, 3]."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        assert stream.time_base is not None
        pts = (stream.start_time or 0) + round(frame_number / stream.average_rate / stream.time_base)
        container.seek(pts, stream=stream)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts >= pts:
                return frame.to_ndarray(format="rgb24")
    raise ValueError(f"{path} has no frame {frame_number}")


def train(student: nn.Module, data: FrameDataset, optimizer: torch.optim.Optimizer) -> None:
    """Train the student for one epoch."""
    student.train()
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORE)
    for images_BCHW, labels_BHW in DataLoader(data, batch_size=1, num_workers=0):
        loss = criterion(student(images_BCHW), labels_BHW)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test(student: nn.Module, data: FrameDataset, num_classes: int) -> np.ndarray:
    """Return the confusion matrix int64 [K, K]; rows = labels, columns = predictions."""
    student.eval()
    confusion = np.zeros((num_classes, num_classes), np.int64)
    with torch.no_grad():
        for images_BCHW, labels_BHW in DataLoader(data, batch_size=1, num_workers=0):
            predicted_BHW = student(images_BCHW).argmax(dim=1).cpu().numpy()
            is_labelled = (labels_BHW != IGNORE).numpy()
            confusion += confusion_matrix(
                labels_BHW.numpy()[is_labelled], predicted_BHW[is_labelled], labels=range(num_classes)
            )
    return confusion


def distil(
    student: nn.Module,
    samples: Sequence[Sample],
    *,
    num_classes: int,
    learn: int,
    test_frames: int,
    step: int,
    learning_rate: float = 1e-4,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Iterator[Result]:
    """Train `student` in place on the last `learn` samples, test on the next `test_frames`, advance by `step`."""
    optimizer = torch.optim.Adam(student.parameters(), lr=learning_rate)
    for now in range(0, len(samples) - test_frames + 1, step):
        past = samples[max(0, now - learn) : now]
        if past:
            train(student, FrameDataset(past, mean, std), optimizer)
        confusion = test(student, FrameDataset(samples[now : now + test_frames], mean, std), num_classes)
        hits = np.diag(confusion).astype(np.float64)
        with np.errstate(invalid="ignore"):
            class_iou = hits / (confusion.sum(0) + confusion.sum(1) - hits)
        accuracy = float(hits.sum() / confusion.sum())
        yield Result(len(past), accuracy, float(np.nanmean(class_iou)), class_iou.tolist())
