"""Teacher that is asked in words: SAM 3 of Hugging Face transformers (Carion et al. 2025), each frame by itself.

It finds what a prompt names, and a frame is asked for all of `teacher.prompts`. A pixel gets the class of the prompt
with the highest score there. Scores are those of the library's post-processing, `post_process_instance_segmentation`
or `post_process_semantic_segmentation`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch

from odkd.common.device import autocast
from odkd.common.optional import optional
from odkd.common.settings import Fraction
from odkd.teachers import Precision, SampledFrames, refuse_nan
from odkd.teachers.hub import identify, locate
from odkd.teachers.prompt_scores import label_all, label_all_softly
from odkd.teachers.prompts import pairs_of, read_prompts
from odkd.teachers.transformers_load import load_weights, quietly, read

MOST_TOKENS = 32  # of a prompt, as the library pads them
OUTPUTS = ("pred_masks", "pred_boxes", "pred_logits", "presence_logits", "semantic_seg")
NEEDS = ("processor_config.json", "preprocessor_config.json")


class Sam3Teacher:
    """A network, its image processor and its tokenizer, from a folder of `save_pretrained` or the hub.

    Args:
        model: folder, or hub id.
        prompts: words -> class, see odkd/teachers/prompts.py.
        device: where the network runs.
        revision: commit of the hub id; anything else causes a warning (see odkd/teachers/hub.py). None for a folder.
        precision: of the network; scores are always computed in float32.
        masks: "instances" = those of all objects that are found, each with its score, which is low where the frame has
            no such object; "semantic" = the semantic mask of a prompt, with the score of each pixel.
        threshold: scores above it count. A frame's pixels without one get the class of "*", or are ignored.

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
        masks: Literal["instances", "semantic"] = "instances",
        threshold: Fraction = 0.5,
    ) -> None:
        self._prompts = read_prompts(prompts)
        self.classes = list(self._prompts.classes)
        self.num_classes = len(self.classes)
        transformers = optional("transformers", f"teacher.model={model}")
        if not hasattr(transformers, "Sam3Model"):
            raise ValueError(f"teacher.model={model} needs a newer transformers: pip install 'transformers>=5.5'")
        folder = locate(model, revision, needs=NEEDS)
        with quietly():
            config = read(transformers.AutoConfig, folder)
            if config.model_type not in ("sam3", "sam3_video"):
                raise ValueError(f"{model} is a {config.model_type} and no SAM 3; load it with teacher=transformers")
            image_config = config.detector_config if config.model_type == "sam3_video" else config
            self._processor = read(transformers.Sam3Processor, folder)
            self._network: Any = load_weights(folder, transformers.Sam3Model, image_config).to(device).eval()
        self._device, self._precision, self._masks, self._threshold = device, precision, masks, threshold
        self._features = [self._text(words) for words in self._prompts.words]

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return hub id and commit, or digests of a folder's files, with prompts in their order and settings."""
        weights = identify(settings["model"], settings.get("revision"), file_digest)
        asked = [list(pair) for pair in pairs_of(settings["prompts"])]
        return {"weights": weights, "prompts": asked} | {
            key: settings.get(key) for key in ("precision", "masks", "threshold")
        }

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return label maps uint8 [B, H, W]."""
        return label_all(self._scores(frames), self._prompts, self._threshold)

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps, and each class's share of a pixel's scores, averaged over the pixels of each of `size`."""
        return label_all_softly(self._scores(frames), self._prompts, self._threshold, size)

    def _text(self, words: str) -> SimpleNamespace:
        """Return the features of a prompt, [1, tokens, channels], and which tokens are words."""
        tokens = self._processor.tokenizer(words, return_tensors="pt", padding="max_length", max_length=MOST_TOKENS)
        if (number := tokens.input_ids.shape[1]) > MOST_TOKENS:
            raise ValueError(f"teacher.prompts: '{words}' is {number} tokens long; expected at most {MOST_TOKENS}")
        tokens = tokens.to(self._device)
        with torch.inference_mode(), autocast(self._device, self._precision):
            found = self._network.get_text_features(**tokens)
        return SimpleNamespace(features=found.pooler_output, mask=tokens.attention_mask)

    def _scores(self, frames: SampledFrames) -> Iterator[torch.Tensor]:
        """Yield the score of each prompt in each pixel of a frame, float32 [P, H, W]; 0 outside its masks."""
        assert frames.images_BHWC is not None
        images = list(torch.from_numpy(frames.images_BHWC).permute(0, 3, 1, 2).contiguous().to(self._device))
        size = (int(images[0].shape[1]), int(images[0].shape[2]))
        pixels = self._processor.image_processor(images=images, return_tensors="pt", device=self._device)
        outputs = [dict[str, torch.Tensor]() for _ in self._features]
        with autocast(self._device, self._precision):
            vision = self._network.get_vision_features(pixels["pixel_values"].to(self._device))
            for text, kept in zip(self._features, outputs, strict=True):
                found = self._network(
                    vision_embeds=vision,
                    text_embeds=SimpleNamespace(pooler_output=text.features.expand(len(images), -1, -1)),
                    attention_mask=text.mask.expand(len(images), -1),
                )
                kept.update({name: found[name].float() for name in OUTPUTS if found.get(name) is not None})
        for row in range(len(images)):
            yield torch.stack([self._score(kept, row, size) for kept in outputs])

    def _score(self, outputs: Mapping[str, torch.Tensor], row: int, size: tuple[int, int]) -> torch.Tensor:
        """Return the score of one prompt in each pixel of one frame, float32 [H, W]."""
        one = SimpleNamespace(
            **dict.fromkeys(OUTPUTS) | {name: value[row : row + 1] for name, value in outputs.items()}
        )
        processor, threshold = self._processor.image_processor, self._threshold
        if self._masks == "semantic":
            (semantic,) = processor.post_process_semantic_segmentation(
                one, target_sizes=[size], threshold=threshold, return_segmentation_scores=True
            )
            refuse_nan(semantic.segmentation_scores, "the network of teacher.model")
            return torch.as_tensor(semantic.segmentation_scores[0])
        refuse_nan(one.pred_logits, "the network of teacher.model")
        (found,) = processor.post_process_instance_segmentation(one, threshold=threshold, target_sizes=[size])
        if not len(found["scores"]):
            return torch.zeros(size, device=self._device)
        return torch.as_tensor(found["scores"][:, None, None] * found["masks"]).amax(0)
