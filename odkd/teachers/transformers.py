"""Teacher from any semantic, panoptic or universal segmentation network of Hugging Face transformers.

Labels equal those of the library's `post_process_semantic_segmentation` for the same batch bit by bit; the one
exception is explained in `_unpadded`. Batches of another size sum in another order, so that ties may fall differently.
There are two kinds of networks: those with logits per pixel (SegFormer, UPerNet, BEiT, DPT ...: everything that
`AutoModelForSemanticSegmentation` loads), and those with queries, which give a mask and a class each (MaskFormer,
Mask2Former, OneFormer, EoMT). EoMT checkpoints that are published as differences to DINOv3 must be added to it first.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.device import autocast
from odkd.common.optional import optional
from odkd.teachers import Precision, SampledFrames
from odkd.teachers.class_scores import check_scores, shares_of, to_numpy
from odkd.teachers.hub import identify, locate
from odkd.teachers.transformers_load import BY_QUERIES, class_names, load_network, load_processor, quietly, read

OTHER_TEACHERS = {"videomt": "videomt", "sam3": "sam3", "sam3_video": "sam3"}  # kind of network -> its teacher
OUTPUTS = ("logits", "class_queries_logits", "masks_queries_logits")
NEEDS = ("preprocessor_config.json", "processor_config.json")


class TransformersTeacher:
    """A network and its image processor, from a folder of `save_pretrained` or the hub.

    Args:
        model: folder, or hub id.
        device: where the network runs.
        revision: commit of the hub id; anything else causes a warning (see odkd/teachers/hub.py). None for a folder.
        precision: of the network; scores are always computed in float32.
        task: the task input of a OneFormer; the labels are the semantic map in any case.
        scores: of networks with queries, as probabilities: "normalized" = divided by their sum over the classes,
            "logits" = their softmax, as in the reference code of MCKD, whose soft targets softmax(scores / T) are then
            far closer to uniform. It pools scores of the masks' resolution; we pool probabilities at full size.

    Raises:
        ValueError: transformers is not installed; the weights cannot be loaded, do not fit, or number their classes
            with gaps; or the network or the image processor is not supported.
    """

    needs_images = True

    def __init__(
        self,
        model: str,
        *,
        device: torch.device,
        revision: str | None = None,
        precision: Precision = "float32",
        task: Literal["semantic", "panoptic", "instance"] = "semantic",
        scores: Literal["normalized", "logits"] = "normalized",
    ) -> None:
        transformers = optional("transformers", f"teacher.model={model}")
        folder = locate(model, revision, needs=NEEDS)
        with quietly():
            config = read(transformers.AutoConfig, folder)
            self._family = str(config.model_type)
            if self._family in OTHER_TEACHERS:
                raise ValueError(f"{model} is a {self._family}; load it with teacher={OTHER_TEACHERS[self._family]}")
            if task != "semantic" and self._family != "oneformer":
                raise ValueError(f"teacher.task={task}; only a OneFormer has tasks, a {self._family} needs semantic")
            if scores != "normalized" and self._family not in BY_QUERIES:
                raise ValueError(f"teacher.scores={scores}; a {self._family} has logits already, it needs normalized")
            self.classes = class_names(config, model)
            self._processor = load_processor(folder, config)
            self._network = load_network(folder, config).to(device).eval()
        self.num_classes = len(self.classes)
        self._device, self._precision, self._task = device, precision, task
        self._normalizes = scores == "normalized" and self._family in BY_QUERIES

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return hub id and commit, or digests of a folder's files, with precision, task and kind of scores."""
        weights = identify(settings["model"], settings.get("revision"), file_digest)
        # Label stores from before there were other scores keep their identity.
        scores = {"scores": "logits"} if settings.get("scores") == "logits" else {}
        return {"weights": weights} | {key: settings.get(key) for key in ("precision", "task")} | scores

    @property
    def network(self) -> torch.nn.Module:
        """The network, whose layers have names."""
        return self._network

    def seen_size(self, frame_size: tuple[int, int]) -> tuple[int, int] | None:
        """Return (height, width) of a frame within what the network sees, where it is padded to a square; else None."""
        processor = self._image_processor
        if not getattr(processor, "do_pad", False) or not self._family.startswith("eomt"):
            return None
        scale = processor.size["shortest_edge"] / max(frame_size)
        return round(frame_size[0] * scale), round(frame_size[1] * scale)

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        outputs, size = self._outputs(frames)
        return np.stack([to_numpy(self._scored(output, size)[0]) for output in outputs])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps and probabilities at full size, averaged over the pixels of each of `size`.

        Probabilities are the softmax of the logits. Networks with queries have none: the score of a class is the sum
        over queries of the query's class probability times its mask probability, and `scores` says how they become
        probabilities. At full size the likeliest class is that of the label map (either, where two are equal after
        rounding).
        """
        outputs, full_size = self._outputs(frames)
        labels, probabilities = [], []
        for output in outputs:
            label_HW, scores_KHW = self._scored(output, full_size)
            probabilities_KHW = shares_of(scores_KHW) if self._normalizes else scores_KHW.softmax(0)
            labels.append(to_numpy(label_HW))
            probabilities.append(F.adaptive_avg_pool2d(probabilities_KHW, size))
        return np.stack(labels), torch.stack(probabilities)

    def _outputs(self, frames: SampledFrames) -> tuple[Iterator[SimpleNamespace], tuple[int, int]]:
        """Return the network's output for each frame of the batch, and the frames' (height, width)."""
        assert frames.images_BHWC is not None
        images_BCHW = torch.from_numpy(frames.images_BHWC).permute(0, 3, 1, 2).contiguous()
        more: dict[str, Any] = {"task_inputs": [self._task] * len(images_BCHW)} if self._family == "oneformer" else {}
        if getattr(self._image_processor, "backend", None) == "torchvision":
            more["device"] = self._device
            images: list[Any] = list(images_BCHW.to(self._device))
        else:
            images = list(images_BCHW.numpy())
        inputs = self._processor(images=images, input_data_format="channels_first", return_tensors="pt", **more)
        offsets = inputs.pop("patch_offsets", None) or []
        if "pixel_mask" in inputs and not bool(inputs["pixel_mask"].all()):
            raise ValueError(
                "this model's image processor pads the frames, so that its labels would not align with them"
            )
        with autocast(self._device, self._precision):
            outputs = self._network(**inputs.to(self._device))
        height, width = images_BCHW.shape[2:]
        return _each(outputs, len(images_BCHW), offsets), (height, width)

    @property
    def _image_processor(self) -> Any:
        return getattr(self._processor, "image_processor", self._processor)

    def _scored(self, output: SimpleNamespace, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return label map [H, W] and scores float32 [K, H, W] of one frame, at `size`."""
        processor = self._image_processor
        if getattr(processor, "do_pad", False) and not output.patch_offsets and self._family.startswith("eomt"):
            return self._unpadded(output, size)
        (result,) = processor.post_process_semantic_segmentation(output, [size], return_segmentation_scores=True)
        return self._checked(result.segmentation, result.segmentation_scores)

    def _unpadded(self, output: SimpleNamespace, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return label map and scores of an EoMT that receives frames padded to a square.

        Deviation: for a semantic map, transformers 5.23 stretches the square with its padding over the frame (a 16:9
        frame is compressed into the upper 56%). For a panoptic map it removes the padding first, and so do we, with the
        library's function.
        """
        processor = self._image_processor
        short, long = processor.size["shortest_edge"], processor.size["longest_edge"]
        square = (short, long or short)
        (result,) = processor.post_process_semantic_segmentation(output, [square], return_segmentation_scores=True)
        (scores_KHW,) = processor.unpad_image(result.segmentation_scores[None], [size], processor.size)
        return self._checked(scores_KHW.argmax(0), scores_KHW)

    def _checked(self, label_HW: torch.Tensor, scores_KHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        check_scores(scores_KHW, self.num_classes)
        return label_HW, scores_KHW


def _each(outputs: Any, batch_size: int, offsets: list[torch.Tensor]) -> Iterator[SimpleNamespace]:
    """Yield the outputs of one frame at a time, in float32; the library would keep the scores of the entire batch.

    `offsets` are those of an EoMT's windows, (frame of the batch, start, end) for each window; empty without windows.
    """
    for i in range(batch_size):
        rows = [row for row, window in enumerate(offsets) if int(window[0]) == i] if offsets else [i]
        found = {name: getattr(outputs, name, None) for name in OUTPUTS}
        tensors = {name: tensor[rows].float() for name, tensor in found.items() if tensor is not None}
        windows = [(0, int(offsets[row][1]), int(offsets[row][2])) for row in rows] if offsets else None
        yield SimpleNamespace(**tensors, patch_offsets=windows)
