"""Weights given to a network whose names for them may differ: prefixes of trainers are taken away or put before."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from odkd.common.names import counted
from odkd.students.weights import part_of, read_checkpoint

ADDED = (
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)  # parts of names: DataParallel, ...
UNUSED = (  # parts of names that only training or counting needs
    *("auxiliary_head", "aux_classifier", "aux_head", "auxlayer", "criterion", "loss"),
    *("total_ops", "total_params", "n_averaged"),
)
COUNTER = "num_batches_tracked"  # of batch norms, which files of before 2018 lack; no weight


@runtime_checkable
class ExpectsWeights(Protocol):
    """A network that some layers are added to where a file has weights for them."""

    def expect(self, names: Iterable[str]) -> None:
        """Add the layers that weights of these names need."""


def load_weights(student: nn.Module, path: Path) -> None:
    """Load a student's weights from a file: safetensors, or a torch file as trainers write it.

    Raises:
        ValueError: the file does not exist, cannot be read, or the weights do not fit.
    """
    fit(student, read_checkpoint(path, "student.weights")["state_dict"], path, "this student")


def fit(network: nn.Module, state: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load weights into a network, each under the name that the network has for it.

    Args:
        path: of the weights' file, for messages.
        what: the network, for messages: "this student", "FPN with resnet18".

    Raises:
        ValueError: weights are missing, have no place in the network, another shape or another kind (whole numbers,
            quantised, sparse, without data), or are NaN.
    """
    if isinstance(network, ExpectsWeights):
        network.expect(state)
    wanted = network.state_dict()
    named = renamed(state, wanted, path)
    missing = [name for name in wanted if name not in named and not name.endswith(COUNTER)]
    extra = [name for name in named if name not in wanted and not is_unused(name)]
    shared = {name: (named[name], wanted[name]) for name in wanted if name in named}
    others = [name for name, (given, own) in shared.items() if given.shape != own.shape]
    kinds = [name for name, (given, own) in shared.items() if not _is_of_kind(given, own)]
    broken = [name for name, (given, _) in shared.items() if name not in kinds and _has_nan(given)]
    complaints = [
        *([f"{counted(len(missing), 'weight')} missing, such as {_some(missing)}"] if missing else []),
        *([f"{counted(len(extra), 'weight')} without a place in it, such as {_some(extra)}"] if extra else []),
        *([f"{counted(len(others), 'weight')} of another shape: {_shapes(others, named, wanted)}"] if others else []),
        *([f"{kinds[0]} is {_kind(named[kinds[0]])}, expected plain {_kind(wanted[kinds[0]])}"] if kinds else []),
        *([f"{counted(len(broken), 'weight')} with NaN, such as {_some(broken)}"] if broken else []),
    ]
    if complaints:
        raise ValueError(f"{path} does not fit {what}: {'; '.join(complaints)}{part_of(path)}")
    network.load_state_dict({name: named.get(name, wanted[name]) for name in wanted})


def renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return weights under the names of `wanted`, if taking a prefix away or putting one before them makes them fit.

    What lies beside the prefix, such as another network, is then left out. Otherwise they keep their names.

    >>> weight = nn.Linear(1, 1).weight
    >>> list(renamed({"module.net.a.weight": weight, "teacher.b": weight}, {"a.weight": weight}, Path("mine.pth")))
    ['a.weight']
    >>> list(renamed({"a.weight": weight}, {"network.a.weight": weight}, Path("mine.pth")))
    ['network.a.weight']

    Raises:
        ValueError: several networks in the file fit.
    """
    if all(name in state for name in wanted):
        return dict(state)
    plain = {plain_name(name): tensor for name, tensor in state.items()}
    goals = {plain_name(name): name for name in wanted}
    heads = {goal.partition(".")[0] for goal in goals}
    own = f"{heads.pop()}." if len(heads) == 1 else ""
    for before in dict.fromkeys(("", own)):  # a prefix that all names of the network have, and the file's may lack
        inner = {goal.removeprefix(before): name for goal, name in goals.items()}
        needed = {goal: wanted[name] for goal, name in inner.items() if not goal.endswith(COUNTER)}
        fitting = [prefix for prefix in _prefixes(plain, needed) if _covers(plain, prefix, needed)]
        if len(fitting) > 1 and "" not in fitting:
            raise ValueError(
                f"{path} holds several networks that fit, under {', '.join(fitting)}; expected one: save it alone"
            )
        if fitting:
            prefix = "" if "" in fitting else fitting[0]
            return {
                inner.get(name.removeprefix(prefix), name.removeprefix(prefix)): tensor
                for name, tensor in plain.items()
                if name.startswith(prefix)
            }
    return dict(state)


def is_unused(name: str) -> bool:
    """Return True for weights that a network needs only while it is trained, or that a tool has left behind."""
    return any(part in UNUSED for part in name.split("."))


def plain_name(name: str) -> str:
    """Return the name of a weight without what data-parallel, sharded and compiled networks put into it."""
    return ".".join(part for part in name.split(".") if part not in ADDED)


def _prefixes(state: Iterable[str], needed: Mapping[str, Tensor]) -> list[str]:
    """Return what stands in the file before the name of the network's first weight, the commonest first."""
    first = next(iter(needed), "")
    found = [name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")]
    return [prefix for prefix, _ in Counter(found).most_common()]


def _covers(state: Mapping[str, Tensor], prefix: str, needed: Mapping[str, Tensor]) -> bool:
    return all(prefix + name in state for name in needed)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3])


def _shapes(names: list[str], state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} is {list(state[name].shape)}, expected {list(wanted[name].shape)}" for name in names[:2])


def _is_of_kind(given: Tensor, own: Tensor) -> bool:
    """Return True if a tensor has plain numbers of the same kind: floating-point ones, or whole ones."""
    is_plain = given.layout == torch.strided and not given.is_quantized and not given.is_meta
    return is_plain and given.is_floating_point() == own.is_floating_point() and not given.is_complex()


def _has_nan(weight: Tensor) -> bool:
    is_byte = weight.element_size() == 1  # float8 has no isnan
    return bool((weight.float() if is_byte else weight).isnan().any())


def _kind(tensor: Tensor) -> str:
    if tensor.is_meta:
        return "without data (meta)"
    layout = "" if tensor.layout == torch.strided else f" {str(tensor.layout).removeprefix('torch.')}"
    return f"{str(tensor.dtype).removeprefix('torch.')}{layout}"


def check_size(make: Callable[[], Any], files: Sequence[Path], where: object) -> None:
    """Check, before memory is taken for it, that a network has no more weights than its files may hold.

    Args:
        make: returns the network.
        files: its weights.
        where: what describes the network, for the message.

    Raises:
        ValueError: it has more, so what describes it is that of another network, or was made to take memory.
    """
    try:
        with torch.device("meta"):
            wanted = sum(weight.numel() for weight in make().parameters())
    except Exception:  # it cannot be made without memory; if it cannot be made at all, the caller says why
        return
    held = sum(file.stat().st_size for file in files)  # a weight has at least a byte
    if wanted > held + 2**20:
        raise ValueError(
            f"{where} describes a network of {wanted:,} weights, and its files have {held:,} bytes; "
            "they do not belong together"
        )
