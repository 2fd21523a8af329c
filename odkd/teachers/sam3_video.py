"""Teacher that is asked in words and has a memory: SAM 3's video model of Hugging Face transformers.

It finds what a prompt names in a frame, and follows what it has found through the next ones. Frames are shown one after
the other, as in the library's streaming; masks and scores are those of its `postprocess_outputs`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odkd.common.device import autocast
from odkd.common.optional import optional, version_of
from odkd.common.settings import PositiveInt
from odkd.teachers import Precision, SampledFrames, refuse_nan
from odkd.teachers.hub import identify, locate
from odkd.teachers.prompt_scores import label_all, label_all_softly
from odkd.teachers.prompts import pairs_of, read_prompts
from odkd.teachers.sam3 import NEEDS
from odkd.teachers.transformers_load import load_weights, quietly, read


class Sam3VideoTeacher:
    """A network that finds and one that tracks, with their processor, from a folder of `save_pretrained` or the hub.

    Args:
        model: folder, or hub id.
        prompts: words -> class, see odkd/teachers/prompts.py.
        device: where the network runs.
        revision: commit of the hub id; anything else causes a warning (see odkd/teachers/hub.py). None for a folder.
        precision: of the network.
        clip_frames: sampled frames after which everything that was found is forgotten.

    Raises:
        ValueError: transformers is not installed or too old; the weights cannot be loaded; or a prompt is wrong.
    """

    needs_images = True

    def __init__(
        self,
        model: str,
        prompts: dict[str, str | list[str] | None],
        *,
        device: torch.device,
        revision: str | None = None,
        precision: Precision = "float32",
        clip_frames: PositiveInt = 64,
    ) -> None:
        self._prompts = read_prompts(prompts)
        self.classes = list(self._prompts.classes)
        self.num_classes, self.clip_frames = len(self.classes), clip_frames
        transformers = optional("transformers", f"teacher.model={model}")
        if not hasattr(transformers, "Sam3VideoModel"):
            raise ValueError(f"teacher.model={model} needs a newer transformers: pip install 'transformers>=5.5'")
        folder = locate(model, revision, needs=NEEDS)
        with quietly():
            config = read(transformers.AutoConfig, folder)
            if config.model_type != "sam3_video":
                raise ValueError(f"{model} is a {config.model_type} and no video model of SAM 3; try teacher=sam3")
            self._processor = read(transformers.Sam3VideoProcessor, folder)
            self._network: Any = load_weights(folder, transformers.Sam3VideoModel, config)
            self._network.to(device).eval()
        self._device, self._precision = device, precision
        self._session: Any = None

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return hub id and commit, or digests of a folder's files, with prompts in their order and settings.

        With the library `kernels`, the model merges what it has found twice and fills holes.
        """
        weights = identify(settings["model"], settings.get("revision"), file_digest)
        asked = [list(pair) for pair in pairs_of(settings["prompts"])]
        return {"weights": weights, "prompts": asked, "kernels": version_of("kernels")} | {
            key: settings.get(key) for key in ("precision", "clip_frames")
        }

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return label maps uint8 [B, H, W]."""
        return label_all(self._scores(frames), self._prompts, 0.0)

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps, and each class's share of a pixel's scores, averaged over the pixels of each of `size`."""
        return label_all_softly(self._scores(frames), self._prompts, 0.0, size)

    def _scores(self, frames: SampledFrames) -> Iterator[torch.Tensor]:
        """Yield the score of each prompt in each pixel of a frame, float32 [P, H, W]; 0 outside its masks."""
        assert frames.images_BHWC is not None
        if frames.begins_clip or self._session is None:
            self._session = self._processor.init_video_session(inference_device=self._device)
            self._processor.add_text_prompt(self._session, list(self._prompts.words))
        for image_CHW in torch.from_numpy(frames.images_BHWC).permute(0, 3, 1, 2).contiguous():
            inputs = self._processor(images=image_CHW, device=self._device, return_tensors="pt")
            with autocast(self._device, self._precision):
                output = self._network(inference_session=self._session, frame=inputs.pixel_values[0])
            size = (int(image_CHW.shape[1]), int(image_CHW.shape[2]))
            found = self._processor.postprocess_outputs(self._session, output, original_sizes=[list(size)])
            refuse_nan(found["scores"], "the network of teacher.model")
            yield torch.stack([self._score(found, words, size) for words in self._prompts.words])

    def _score(self, found: Mapping[str, Any], words: str, size: tuple[int, int]) -> torch.Tensor:
        """Return the score of one prompt in each pixel, float32 [H, W]: the highest of its objects there."""
        own = torch.tensor(found["prompt_to_obj_ids"].get(words, []), dtype=torch.int64)
        rows = torch.isin(found["object_ids"].cpu(), own)
        if not rows.any():
            return torch.zeros(size, device=self._device)
        scores_N, masks_NHW = found["scores"][rows].float(), found["masks"][rows.to(found["masks"].device)]
        best_HW = torch.as_tensor(scores_N.to(masks_NHW.device)[:, None, None] * masks_NHW).amax(0)
        return best_HW.to(self._device)
