"""Any semantic, panoptic or universal segmentation network of Hugging Face transformers.

Labels are those of the library's own `post_process_semantic_segmentation` for the same batch, to the bit; one
exception says why (`_unpadded`). In batches of another size sums run in another order: ties may fall differently.
Two kinds of networks: logits of each pixel (SegFormer, UPerNet, BEiT, DPT ...: everything that
`AutoModelForSemanticSegmentation` loads), and queries that each bring a mask and a class (MaskFormer, Mask2Former,
OneFormer, EoMT). EoMT checkpoints that are published as differences to DINOv3 must be added up first.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.device import PRECISIONS, autocast
from odkd.teachers import SampledFrames
from odkd.teachers.hub import identify, locate
from odkd.teachers.transformers_load import BY_QUERIES, class_names, load_network, load_processor, quietly, read

TASKS = ("semantic", "panoptic", "instance")  # what a OneFormer may be asked for
OUTPUTS = ("logits", "class_queries_logits", "masks_queries_logits")
NEEDS = ("preprocessor_config.json", "processor_config.json")


class TransformersTeacher:
    """A network and its image processor, as `save_pretrained` or the hub lays them down.

    Args:
        model: folder, or hub id.
        revision: commit of the hub id; anything else is warned about (see odkd/teachers/hub.py). None for a folder.
        precision: of the network; scores are always computed in float32.
        task: the word that a OneFormer is asked with; the labels are the semantic map in any case.

    Raises:
        ValueError: transformers is not installed, the weights are not to be had, do not fit, or name their classes
            oddly; a network or an image processor that this class cannot label with.
    """

    needs_images = True

    def __init__(
        self,
        model: str,
        *,
        device: torch.device,
        revision: str | None = None,
        precision: str = "float32",
        task: str = "semantic",
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"teacher.precision={precision}; expected one of {', '.join(PRECISIONS)}")
        try:
            import transformers
        except ImportError as error:
            raise ValueError(f"teacher.model needs transformers ({error}): pip install 'odkd[transformers]'") from error
        folder = locate(model, revision, needs=NEEDS)
        with quietly():
            config = read(transformers.AutoConfig, folder)
            self._family = str(config.model_type)
            if task not in TASKS or (task != "semantic" and self._family != "oneformer"):
                raise ValueError(f"teacher.task={task}; a {self._family} knows semantic only, a OneFormer {TASKS}")
            self.classes = class_names(config, model)
            self._processor = load_processor(folder, config)
            self._network = load_network(folder, config).to(device).eval()
        self.num_classes = len(self.classes)
        self._device, self._precision, self._task = device, precision, task

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Hub id and commit, or the digests of a folder's files; precision and task."""
        weights = identify(settings["model"], settings.get("revision"), file_digest)
        return {"weights": weights} | {key: settings.get(key) for key in ("precision", "task")}

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        outputs, size = self._outputs(frames)
        return np.stack([_to_numpy(self._scored(one, size)[0]) for one in outputs])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Probabilities at full size, averaged over the pixels that fall on each of `size`.

        Networks with logits: their softmax. Networks with queries have no such thing: a class's score is the sum,
        over queries, of the query's probability of the class times its mask's; scores, divided by their sum over
        the classes, stand in for probabilities. At full size the likeliest class is the label map's (where two
        are equal after rounding, either).
        """
        outputs, full_size = self._outputs(frames)
        labels, probabilities = [], []
        for one in outputs:
            label_HW, scores_KHW = self._scored(one, full_size)
            if self._family in BY_QUERIES:
                scores_KHW = scores_KHW + torch.finfo(torch.float32).tiny  # no query, no score: all classes alike
                probabilities_KHW = scores_KHW / scores_KHW.sum(0)
            else:
                probabilities_KHW = scores_KHW.softmax(0)
            labels.append(_to_numpy(label_HW))
            probabilities.append(F.adaptive_avg_pool2d(probabilities_KHW, size))
        return np.stack(labels), torch.stack(probabilities)

    def _outputs(self, frames: SampledFrames) -> tuple[Iterator[SimpleNamespace], tuple[int, int]]:
        """What the network says of each frame of the batch, and the frames' (height, width)."""
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
            raise ValueError("this model's image processor pads the frames, and its labels would not lie on them")
        with autocast(self._device, self._precision):
            outputs = self._network(**inputs.to(self._device))
        height, width = images_BCHW.shape[2:]
        return _each(outputs, len(images_BCHW), offsets), (height, width)

    @property
    def _image_processor(self) -> Any:
        return getattr(self._processor, "image_processor", self._processor)

    def _scored(self, one: SimpleNamespace, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Label map [H, W] and scores float32 [K, H, W] of one frame, at `size`."""
        processor = self._image_processor
        if getattr(processor, "do_pad", False) and not one.patch_offsets and self._family.startswith("eomt"):
            return self._unpadded(one, size)
        (result,) = processor.post_process_semantic_segmentation(one, [size], return_segmentation_scores=True)
        return self._checked(result.segmentation, result.segmentation_scores)

    def _unpadded(self, one: SimpleNamespace, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels of an EoMT that sees whole frames, padded to a square.

        Deviation: transformers 5.23 stretches the square, padding and all, over the frame when asked for a semantic
        map (a 16:9 frame comes out squashed into its upper 56%); for a panoptic one it cuts the padding off first,
        and so do we, with its own function.
        """
        processor = self._image_processor
        short, long = processor.size["shortest_edge"], processor.size["longest_edge"]
        square = (short, long or short)
        (result,) = processor.post_process_semantic_segmentation(one, [square], return_segmentation_scores=True)
        (scores_KHW,) = processor.unpad_image(result.segmentation_scores[None], [size], processor.size)
        return self._checked(scores_KHW.argmax(0), scores_KHW)

    def _checked(self, label_HW: torch.Tensor, scores_KHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(scores_KHW) != self.num_classes:
            raise ValueError(f"the network has {len(scores_KHW)} classes, its config.json names {self.num_classes}")
        return label_HW, scores_KHW


def _each(outputs: Any, batch_size: int, offsets: list[torch.Tensor]) -> Iterator[SimpleNamespace]:
    """One frame at a time, in float32: the library's post-processing keeps the scores of all that it is given.

    `offsets` of windows (EoMT): rows of (frame of the batch, start, end), one a window; without windows none.
    """
    for i in range(batch_size):
        rows = [row for row, window in enumerate(offsets) if int(window[0]) == i] if offsets else [i]
        found = {name: getattr(outputs, name, None) for name in OUTPUTS}
        tensors = {name: tensor[rows].float() for name, tensor in found.items() if tensor is not None}
        windows = [(0, int(offsets[row][1]), int(offsets[row][2])) for row in rows] if offsets else None
        yield SimpleNamespace(**tensors, patch_offsets=windows)


def _to_numpy(label_HW: torch.Tensor) -> np.ndarray:
    array: np.ndarray = label_HW.to(torch.uint8).cpu().numpy()
    return array
