"""Teacher with state over frames: VidEoMT of Hugging Face transformers (Norouzi et al. 2026), frame by frame.

A VidEoMT is an EoMT whose queries remember: those of a frame are the learned ones plus a linear map of what the last
block made of them in the frame before. The library's network takes a whole clip at once; here it takes a batch at a
time, and the queries are handed on, so that a clip of any length fits into memory. Labels equal those of the library's
`post_process_semantic_segmentation` for the whole clip bit by bit if the clip is one batch; batches of another size sum
in another order, so that ties may fall differently.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.device import autocast
from odkd.common.optional import optional
from odkd.common.settings import PositiveInt
from odkd.teachers import Precision, SampledFrames
from odkd.teachers.class_scores import check_scores, shares_of, to_numpy
from odkd.teachers.hub import identify, locate
from odkd.teachers.transformers_load import class_names, load_weights, quietly, read

PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


class VideomtTeacher:
    """A network and its video processor, from a folder of `save_pretrained` or the hub.

    Args:
        model: folder, or hub id.
        device: where the network runs.
        revision: commit of the hub id; anything else causes a warning (see odkd/teachers/hub.py). None for a folder.
        precision: of the network; scores are always computed in float32.
        clip_frames: sampled frames after which the queries are the learned ones again.

    Raises:
        ValueError: transformers is not installed or too old; the weights cannot be loaded or are no VidEoMT.
    """

    needs_images = True

    def __init__(
        self,
        model: str,
        *,
        device: torch.device,
        revision: str | None = None,
        precision: Precision = "float32",
        clip_frames: PositiveInt = 64,
    ) -> None:
        transformers = optional("transformers", f"teacher.model={model}")
        if not hasattr(transformers, "VideomtForUniversalSegmentation"):
            raise ValueError(f"teacher.model={model} needs a newer transformers: pip install 'transformers>=5.5'")
        folder = locate(model, revision, needs=("config.json",))
        with quietly():
            config = read(transformers.AutoConfig, folder)
            if config.model_type != "videomt":
                raise ValueError(f"{model} is a {config.model_type} and no VidEoMT; load it with teacher=transformers")
            self.classes = class_names(config, model)
            if any((folder / name).is_file() for name in PROCESSORS):
                self._processor = read(transformers.VideomtVideoProcessor, folder)
            else:  # published weights lack the file; the network takes squares of one size
                size = {"height": config.image_size, "width": config.image_size}
                self._processor = transformers.VideomtVideoProcessor(size=size)
            self._network: Any = load_weights(folder, transformers.VideomtForUniversalSegmentation, config)
            self._network.to(device).eval()
        self.num_classes = len(self.classes)
        self.clip_frames = clip_frames
        self._device, self._precision = device, precision
        self._last_queries: torch.Tensor | None = None  # of the frame before

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return hub id and commit, or digests of a folder's files, with precision and length of a clip."""
        weights = identify(settings["model"], settings.get("revision"), file_digest, PROCESSORS)
        return {"weights": weights} | {key: settings.get(key) for key in ("precision", "clip_frames")}

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return label maps uint8 [B, H, W]."""
        return np.stack([to_numpy(label_HW) for label_HW, _ in self._scored(frames)])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps, and each class's share of a pixel's scores, averaged over the pixels of each of `size`."""
        labels, probabilities = [], []
        for label_HW, scores_KHW in self._scored(frames):
            labels.append(to_numpy(label_HW))
            probabilities.append(F.adaptive_avg_pool2d(shares_of(scores_KHW), size))
        return np.stack(labels), torch.stack(probabilities)

    def _scored(self, frames: SampledFrames) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield label map [H, W] and scores float32 [K, H, W] of each frame, at the frames' size."""
        assert frames.images_BHWC is not None
        if frames.begins_clip:
            self._last_queries = None
        images_BCHW = torch.from_numpy(frames.images_BHWC).permute(0, 3, 1, 2).contiguous().to(self._device)
        inputs = self._processor(videos=[images_BCHW], return_tensors="pt", do_sample_frames=False)
        size = (int(images_BCHW.shape[2]), int(images_BCHW.shape[3]))
        with autocast(self._device, self._precision):
            outputs = list(self._outputs(inputs["pixel_values_videos"][0].to(self._device)))
        for masks_1Qhw, classes_1QK in outputs:
            output = SimpleNamespace(masks_queries_logits=masks_1Qhw.float(), class_queries_logits=classes_1QK.float())
            (result,) = self._processor.post_process_semantic_segmentation(
                output, [size], return_segmentation_scores=True
            )
            check_scores(result.segmentation_scores, self.num_classes)
            yield result.segmentation, result.segmentation_scores

    def _outputs(self, pixels_BCHW: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield logits of masks [1, Q, h, w] and of classes [1, Q, K + 1] of each frame, as the library's `forward`."""
        network = self._network
        first_with_queries = network.num_hidden_layers - network.config.num_blocks
        hidden_BNC = network.embeddings(pixels_BCHW)
        for layer in network.layers[:first_with_queries]:
            hidden_BNC = layer(hidden_BNC)
        learned_1QC = network.query.weight[None]
        for hidden_1NC in hidden_BNC.split(1):
            queries_1QC = learned_1QC
            if self._last_queries is not None:
                queries_1QC = network.query_updater(self._last_queries) + learned_1QC
            hidden_1NC = torch.cat((queries_1QC.to(hidden_1NC.dtype), hidden_1NC), dim=1)
            for layer in network.layers[first_with_queries:]:
                hidden_1NC = layer(hidden_1NC)
            self._last_queries = hidden_1NC[:, : network.config.num_queries]
            yield network.predict(network.layernorm(hidden_1NC))
