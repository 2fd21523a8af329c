"""The predictions in an .npy file of LVS, which is a pickle: nothing in it is run, and the memory it takes is bounded.

NumPy's own functions are not called: crafted states make them take bytes for objects, which ends in a crash. Arrays
share the bytes that were read.
"""

import os
import pickle
import pickletools
import re
import sys
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from odkd.common.reading import brief, open_file

Found = tuple[np.ndarray, np.ndarray, np.ndarray, Sequence[np.ndarray]]  # boxes [N, 4], classes [N], scores [N], masks
FARTHEST = 2.0  # from the upper left corner of a frame, as a share of it; boxes may stand out a little
MOST_MASK = 2**20  # numbers of a mask; Detectron's have 28 x 28
MOST_BYTES = 2**32  # of a file
SPARE = 2**30  # bytes for objects, besides the bytes of the file itself; an hour of a video takes less
# Bytes that a step of a pickle may take: of one that makes an object, and of others, which are numbers and places.
HEAVY, LIGHT = 300, 64
MAKERS = {
    *("EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "EMPTY_SET", "FROZENSET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD", "GLOBAL", "STACK_GLOBAL"),
}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}  # steps with the number under which a value is kept
LATIN = "latin1"  # in which bytes are texts of protocols 0 to 2
NUMBERS = (int, float, np.number, np.bool_)


def read_found(path: Path) -> dict[int, Found]:
    """Return what Mask R-CNN found in each frame: the masks of a frame are [m, m], one for each object.

    Raises:
        ValueError: the file is damaged, holds something else, or would take much more memory than its size.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES} bytes")
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("its header has another version")
            np.lib.format.read_array_header_1_0(file)
            memory = _Memory(2 * size + SPARE)  # texts of Python 2 are read, then made bytes
            start = file.tell()
            _check_steps(file, memory)
            file.seek(start)
            frames = _plain(_Arrays(file, memory).load())
        frames = _plain(frames[()]) if isinstance(frames, np.ndarray) else frames
        found = {int(frame): _plain(parts) for frame, parts in frames.items()}
        return {frame: _checked(frame, parts) for frame, parts in found.items() if len(parts) == 4}
    except Exception as error:
        reason = f"{type(error).__name__}: {brief(error)}"
        raise ValueError(f"{path} does not hold predictions of LVS ({reason}); download it again") from error


def _checked(frame: int, parts: Sequence[Any]) -> Found:
    """Return the parts of a frame as arrays that fit each other.

    Raises:
        ValueError: they do not.
    """
    kinds = ("boxes", "classes", "scores", "masks")
    if no_list := [kind for kind, part in zip(kinds, map(_plain, parts), strict=True) if not _is_list(part)]:
        raise ValueError(f"the {no_list[0]} of frame {frame} are no array")
    boxes, classes, scores, masks = map(_plain, parts)
    if not len(boxes) == len(classes) == len(scores) == len(masks):
        raise ValueError(f"boxes, classes, scores and masks of frame {frame} differ in number")
    if not len(boxes):
        nothing = np.zeros(0)
        return np.zeros((0, 4)), nothing, nothing, []
    boxes_N4 = boxes if _is_numbers(boxes, 2) else np.stack([_vector(frame, "boxes", _plain(box)) for box in boxes])
    if boxes_N4.shape[1] != 4 or not (np.abs(np.asarray(boxes_N4, np.float64)) <= FARTHEST).all():
        raise ValueError(
            f"a box of frame {frame} does not lie in it; expected top, left, bottom, right, 0..1 of the frame"
        )
    masks_Nmm = masks if _is_numbers(masks, 3) else [_plain(mask) for mask in masks]
    if not all(_is_numbers(mask_mm, 2) and 0 < mask_mm.size <= MOST_MASK for mask_mm in masks_Nmm):
        raise ValueError(f"a mask of frame {frame} has another form than 28 x 28 numbers, or the like")
    return boxes_N4, _vector(frame, "classes", classes), _vector(frame, "scores", scores), masks_Nmm


def _is_list(part: Any) -> bool:
    return isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.ndim > 0)


def _is_numbers(part: Any, num_dimensions: int) -> bool:
    return isinstance(part, np.ndarray) and part.ndim == num_dimensions and part.dtype.kind in "biuf"


def _vector(frame: int, kind: str, part: Any) -> np.ndarray:
    """Return a list of finite numbers, in any form that it may have, as an array."""
    if not _is_numbers(part, 1):
        if not _is_list(part) or not all(isinstance(item, NUMBERS) for item in part):
            raise ValueError(f"the {kind} of frame {frame} are not numbers")
        part = np.asarray(list(part), np.float64)
    if not np.isfinite(part).all():
        raise ValueError(f"the {kind} of frame {frame} are not finite")
    return np.asarray(part)


class _Memory:
    """The bytes that a file may still take."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, number: int) -> None:
        self.left -= number
        if self.left < 0:
            raise pickle.UnpicklingError("it would take much more memory than its size tells")


def _check_steps(file: BufferedReader, memory: _Memory) -> None:
    """Take the memory that the steps of a pickle need, before the first is done."""
    untold: Any = SimpleNamespace(read=file.read, readline=file.readline)  # to tell the place of each step takes long
    for number, (step, argument, _) in enumerate(pickletools.genops(untold)):
        memory.take(HEAVY if step.name in MAKERS else LIGHT)
        if isinstance(argument, str | bytes | bytearray):
            memory.take(sys.getsizeof(argument))
        if step.name in PUTS and int(argument or 0) > number:  # Python makes room for all numbers below
            raise pickle.UnpicklingError(f"step {number} keeps a value under the number {argument}")


class _Type:
    """The type of an array: name and byte order. Flags, which would let bytes be taken for objects, are not read."""

    def __init__(self, name: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf]\d+|O\d*", str(name)):
            raise pickle.UnpicklingError(f"it holds an array of {name!r:.40}")
        self.dtype = np.dtype(str(name)[:1] if str(name).startswith("O") else str(name))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array while it is read: `content` is None until its state has come."""

    def __init__(self, memory: _Memory, content: np.ndarray | None = None) -> None:
        self.memory, self.content = memory, content

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, content = state
        if isinstance(content, list):
            self.memory.take(8 * len(content))
            flat = np.empty(len(content), object)
            for place, item in enumerate(content):
                flat[place] = item
        else:
            flat = np.frombuffer(_bytes(content, LATIN, self.memory), kind.dtype)
        self.content = flat.reshape(shape, order="F" if is_fortran else "C")


def _bytes(content: Any, encoding: str, memory: _Memory) -> Any:
    """Return the bytes of a text: one that is kept under a number may become bytes many times."""
    if not isinstance(content, str):
        return content
    if encoding != LATIN:
        raise pickle.UnpicklingError(f"it holds a text in {encoding!r:.40}")
    memory.take(len(content))
    return content.encode(encoding)


def _plain(value: Any) -> Any:
    return value.content if isinstance(value, _Array) else value


class _Arrays(pickle.Unpickler):
    """An unpickler of arrays and numbers of NumPy, of any release, and of nothing else."""

    def __init__(self, file: BufferedReader, memory: _Memory) -> None:
        super().__init__(file, encoding=LATIN)
        self._memory = memory

    def find_class(self, module: str, name: str) -> Any:
        memory = self._memory
        known: dict[str, Any] = {"ndarray": lambda *_: _Array(memory), "dtype": _Type}
        known["_reconstruct"] = known["ndarray"]
        known["scalar"] = lambda kind, raw: np.frombuffer(_bytes(raw, LATIN, memory), kind.dtype)[0]
        known["_frombuffer"] = lambda raw, kind, shape, order: _Array(
            memory, np.frombuffer(raw, kind.dtype).reshape(shape, order=order)
        )
        if module.partition(".")[0] == "numpy" and name in known:
            return known[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: _bytes(text, encoding, memory)
        if (module, name) in (("builtins", "bytes"), ("__builtin__", "bytes")):
            return lambda: b""  # which protocol 2 has no step for
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which would run code")
