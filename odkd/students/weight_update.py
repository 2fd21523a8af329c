"""Updates of a student's weights as bytes: what a server sends to the student at a camera.

An update has a bit for each entry of the weights, set where the entry changes, and the new values of these entries in
float16; both are compressed by zstd (AMS, Khani et al. 2021). The values are rounded, so the student at
the camera is not bit for bit that of the server: `apply_update` gives exactly what the camera computes with.

Deviation: the released code of AMS compresses with gzip -9, and its student at the camera keeps float32, so that its
scores do not feel the rounding. It leaves running statistics of batch norms out of the bytes; here they are sent, too.

    HEAD      "odkdW1", digest of names, shapes and types (8 bytes), length (8) and CRC-32 (4) of the content
    content   a bit for each tensor: is it sent as it is?  a bit for each entry: does it change?
              float16 values  values as they are
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numcodecs.zstd import Zstd
from torch import Tensor

MAGIC = b"odkdW1"
HEAD = struct.Struct("<6s8sQI")
HALF = 2  # bytes of a float16
LEVEL = 9  # of zstd; values of float16 hardly compress, so a higher one only takes time

Weights = Mapping[str, Tensor]


def pack_update(
    old: Weights, new: Weights, mask: Mapping[str, Tensor] | None = None, *, as_float16: bool = True
) -> bytes:
    """Return the update that brings the student at the camera from `old` weights to `new` ones.

    Whole numbers are sent as they are, and so is a tensor with a value that is too large for float16.

    Args:
        old: what the camera has: parameters and buffers by name, as of `state_dict`.
        new: of the same names, shapes and types.
        mask: bool tensors of entries that may be sent; a tensor without one is sent where it changes. None = all are.
        as_float16: round numbers to float16; False = send them as they are.

    Raises:
        ValueError: `old`, `new` and `mask` are not of the same network.
    """
    if _layout(old) != _layout(new):
        raise ValueError("the old and the new weights differ in names, shapes or types; expected those of one network")
    bits: list[Tensor] = []
    halves: list[Tensor] = []
    others: list[Tensor] = []
    kept: list[bool] = []
    for name, before in old.items():
        now, may = new[name].detach(), _selected(name, before, mask)
        rounded = now.half() if as_float16 and now.is_floating_point() else None
        if rounded is not None and bool((rounded.isinf() & now.isfinite() & may).any()):
            rounded = None  # it does not fit into float16
        sent = now if rounded is None else rounded
        changed = (sent.to(now.dtype) != before) & may
        bits.append(changed.flatten().cpu())
        (others if rounded is None else halves).append(sent[changed])
        kept.append(rounded is None)
    content = b"".join(
        [_packed(torch.tensor(kept)), _packed(torch.cat(bits)), *map(_bytes_of, halves), *map(_bytes_of, others)]
    )
    return HEAD.pack(MAGIC, _digest(old), len(content), zlib.crc32(content)) + bytes(Zstd(level=LEVEL).encode(content))


def apply_update(weights: Weights, update: bytes) -> dict[str, Tensor]:
    """Return a copy of the weights of a student, changed by an update.

    Raises:
        ValueError: the update is damaged, or made for another network.
    """
    content = _Content(_content_of(weights, update))
    kept = content.flags(len(weights))
    bits = torch.from_numpy(content.flags(sum(tensor.numel() for tensor in weights.values())))
    flags = torch.split(bits, [tensor.numel() for tensor in weights.values()])
    found = {name: tensor.detach().clone() for name, tensor in weights.items()}
    for is_kept in (False, True):  # all float16 values lie before the others
        for tensor, changed, of_tensor in zip(found.values(), flags, kept, strict=True):
            if bool(of_tensor) is is_kept:
                kind = tensor.dtype if is_kept else torch.float16
                values = content.values(int(changed.sum()), kind)
                tensor[changed.view(tensor.shape).to(tensor.device)] = values.to(tensor.device, tensor.dtype)
    content.check_end()
    return found


class _Content:
    """What an update says, read from front to back."""

    def __init__(self, content: np.ndarray) -> None:
        self._rest = content

    def flags(self, number: int) -> np.ndarray:
        return np.unpackbits(self._take(-(-number // 8)), count=number).astype(bool)

    def values(self, number: int, kind: torch.dtype) -> Tensor:
        taken = self._take(number * kind.itemsize)
        return torch.from_numpy(taken.copy()).view(kind) if number else torch.empty(0, dtype=kind)

    def check_end(self) -> None:
        if len(self._rest):
            raise ValueError(f"the update is damaged: {len(self._rest)} bytes follow its last value; send it again")

    def _take(self, number: int) -> np.ndarray:
        if number > len(self._rest):
            raise ValueError("the update is damaged: it ends before its last value; send it again")
        taken, self._rest = self._rest[:number], self._rest[number:]
        return taken


def _content_of(weights: Weights, update: bytes) -> np.ndarray:
    """Return the content of an update, uint8; it takes no more memory than the weights can fill."""
    if len(update) < HEAD.size or not update.startswith(MAGIC):
        raise ValueError(f"these {len(update)} bytes are no update of weights; expected the result of pack_update")
    _, digest, size, checksum = HEAD.unpack_from(update)
    if digest != _digest(weights):
        raise ValueError("the update is for another network; expected one for the names, shapes and types of these")
    entries = sum(tensor.numel() for tensor in weights.values())
    most = -(-len(weights) // 8) - (-entries // 8)
    most += sum(tensor.numel() * max(tensor.itemsize, HALF) for tensor in weights.values())
    if size > most:
        raise ValueError(f"the update is damaged: it claims {size} bytes, and all weights take {most}; send it again")
    content = np.zeros(size, np.uint8)
    try:
        Zstd(level=LEVEL).decode(update[HEAD.size :], out=content)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the update is damaged: {error}; send it again") from error
    if zlib.crc32(content.tobytes()) != checksum:
        raise ValueError("the update is damaged: its checksum is wrong; send it again")
    return content


def _selected(name: str, before: Tensor, mask: Mapping[str, Tensor] | None) -> Tensor:
    """Return the entries of a tensor that may be sent."""
    if mask is None or name not in mask:
        return torch.ones_like(before, dtype=torch.bool)
    if mask[name].shape != before.shape or mask[name].dtype != torch.bool:
        raise ValueError(
            f"the mask of {name} is {mask[name].dtype} {tuple(mask[name].shape)}; expected bool {tuple(before.shape)}"
        )
    return mask[name].to(before.device)


def _layout(weights: Weights) -> list[tuple[str, tuple[int, ...], str]]:
    return [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in weights.items()]


def _digest(weights: Weights) -> bytes:
    return hashlib.sha256(repr(_layout(weights)).encode()).digest()[:8]


def _packed(flags: Tensor) -> bytes:
    return np.packbits(flags.numpy()).tobytes()


def _bytes_of(values: Tensor) -> bytes:
    return values.cpu().contiguous().view(torch.uint8).numpy().tobytes() if values.numel() else b""
