"""ER-ACE: stream frames do not push down the logits of classes absent from them (Caccia et al., ICLR 2022).

    loss = CE(stream frames, softmax over C_now) + CE(replayed frames, softmax over all classes)

C_now contains the classes in the stream frames of this update and those never seen so far: as in the official code
and in that of Houyon et al. 2023, every frame pushes down a class without examples. So exactly the classes seen
earlier and absent now are masked. The paired orders give each update both kinds of frames; with other orders, updates
of stream frames only are masked in the same way.

`stage.order=paired_apart` forwards the two kinds apart and adds their losses, as the official code and the released one
of Houyon et al. do; experiment=houyon2023/mir_ace has it. `stage.order=paired`, one forward pass for both, is the order
of experience replay in general; it costs one pass less and stays what it was: batch norm mixes the statistics.

Deviation: in one batch, one mean over the labelled pixels of all frames, not the sum of two means. With as many stream
frames as replayed ones it is half of that sum, a factor that does not affect Adam.

Deviation: the released code of Houyon et al. learns nothing from stream frames without a partner, so nothing at all
until the memory has frames, and counts a class as seen once it was in a stream frame with a partner. We learn from
these frames too, masked, and their classes count as seen.
"""

from typing import Any

import torch
from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.training.regularizers import Update
from odkd.training.regularizers.seen import MASKED, classes_in, from_list, to_list


class Ace:
    """Masks logits; remembers all classes seen so far."""

    sets_in_after_passes = 0
    hides_classes = True

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._is_seen_K = torch.zeros(num_classes, dtype=torch.bool, device=device)

    def adjust_logits(self, logits_BKHW: Tensor, update: Update) -> Tensor:
        """Return masked logits in float32; the value of the mask does not fit into float16."""
        num_classes = len(self._is_seen_K)
        is_stream_B = ~update.is_replayed_B
        stream_labels_BHW = update.labels_BHW.masked_fill(update.is_replayed_B[:, None, None], IGNORE)
        self._is_seen_K = self._is_seen_K | classes_in(update.labels_BHW, num_classes)
        is_absent_K = self._is_seen_K & ~classes_in(stream_labels_BHW, num_classes)
        is_masked_BK = is_stream_B[:, None] & is_absent_K
        return logits_BKHW.float().masked_fill(is_masked_BK[:, :, None, None], MASKED)

    def penalty(self, student: nn.Module, logits_BKHW: Tensor, update: Update) -> Tensor | None:
        return None

    def after_update(self, student: nn.Module, update: Update) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"seen": to_list(self._is_seen_K)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._is_seen_K = from_list(state["seen"], len(self._is_seen_K), self._is_seen_K.device)
