"""Updates of weights as bytes: what the camera gets is what was meant for it, and damage is a message."""

from collections.abc import Callable

import pytest
import torch
from numcodecs.zstd import Zstd
from torch import Tensor, nn

from odkd.students.weight_update import HEAD, MAGIC, apply_update, pack_update

Weights = dict[str, Tensor]


def network(seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.Conv2d(7, 2, 1))
    return {name: tensor.detach().clone() for name, tensor in layers.state_dict().items()}


def moved(old: Weights) -> Weights:
    """Return weights after some learning: all numbers are others, a batch norm has counted a batch."""
    torch.manual_seed(1)
    return {name: t + (torch.randn_like(t) if t.is_floating_point() else 1) for name, t in old.items()}


def masks(old: Weights, share: float) -> Weights:
    torch.manual_seed(2)
    return {name: torch.rand(t.shape) < share for name, t in old.items() if name.endswith(("weight", "bias"))}


@pytest.mark.parametrize("share", [None, 0.0, 0.1, 1.0])
@pytest.mark.parametrize("as_float16", [True, False])
def test_the_camera_gets_the_selected_entries_and_keeps_the_others(share: float | None, as_float16: bool) -> None:
    old = network()
    new, mask = moved(old), None if share is None else masks(old, share)
    found = apply_update(old, pack_update(old, new, mask, as_float16=as_float16))
    for name, before in old.items():
        arrives = new[name].half().to(before.dtype) if as_float16 and before.is_floating_point() else new[name]
        expected = arrives if mask is None or name not in mask else torch.where(mask[name], arrives, before)
        assert found[name].dtype == before.dtype
        assert torch.equal(found[name], expected), name
        assert found[name].data_ptr() != before.data_ptr()


def test_an_update_says_one_bit_for_each_entry_and_two_bytes_for_each_that_changes() -> None:
    old = network()
    new = {name: tensor.clone() for name, tensor in old.items()}
    new["0.weight"].view(-1)[[3, 5, 8]] = torch.tensor([1.0, 2.0, 4.0])
    update = pack_update(old, new, as_float16=True)
    magic, _, size, _ = HEAD.unpack_from(update)
    entries = sum(tensor.numel() for tensor in old.values())
    content = bytes(Zstd().decode(update[HEAD.size :]))
    # Every number that float16 does not hold is sent once: the camera then has what float16 holds.
    again = apply_update(old, update)
    second = pack_update(again, new)
    small = bytes(Zstd().decode(second[HEAD.size :]))
    assert magic == MAGIC
    assert size == len(content)
    assert len(small) == -(-len(old) // 8) - (-entries // 8)
    again["0.weight"].view(-1)[[3, 5, 8]] = 0.0
    third = bytes(Zstd().decode(pack_update(again, new)[HEAD.size :]))
    assert len(third) == len(small) + 3 * 2
    assert torch.frombuffer(bytearray(third[-6:]), dtype=torch.float16).tolist() == [1.0, 2.0, 4.0]


def test_a_number_that_float16_cannot_hold_arrives_as_it_is() -> None:
    old = network()
    new = {name: tensor.clone() for name, tensor in old.items()}
    new["1.running_var"][0] = 1e5
    new["2.bias"][1] = float("nan")
    found = apply_update(old, pack_update(old, new))
    assert torch.equal(found["1.running_var"], new["1.running_var"])
    assert found["2.bias"].isnan().tolist() == [False, True]


def test_types_of_every_kind_and_empty_tensors_arrive() -> None:
    old = {
        "brain": torch.zeros(3, dtype=torch.bfloat16),
        "double": torch.zeros(2, 2, dtype=torch.float64),
        "flag": torch.tensor(False),
        "nothing": torch.empty(0),
        "count": torch.tensor(0),
        "grid": torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    new = {name: tensor + 1 if tensor.dtype != torch.bool else ~tensor for name, tensor in old.items()}
    new["grid"] += torch.arange(96).view(2, 3, 4, 4)
    found = apply_update(old, pack_update(old, new))
    assert all(torch.equal(found[name], new[name]) for name in old)


def cut(update: bytes) -> bytes:
    return update[:-5]


def flipped(update: bytes) -> bytes:
    return update[:-1] + bytes([update[-1] ^ 1])


def boastful(update: bytes) -> bytes:
    magic, digest, _, checksum = HEAD.unpack_from(update)
    return HEAD.pack(magic, digest, 2**60, checksum) + update[HEAD.size :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "the update is damaged"),
        (flipped, "the update is damaged"),
        (boastful, "it claims 1152921504606846976 bytes"),
        (lambda update: update[: HEAD.size], "the update is damaged"),
        (lambda _: b"", "these 0 bytes are no update"),
        (lambda _: b"x" * 100, "these 100 bytes are no update"),
    ],
)
def test_damage_is_a_message_and_never_another_student(damage: Callable[[bytes], bytes], message: str) -> None:
    old = network()
    update = pack_update(old, moved(old))
    with pytest.raises(ValueError, match=message):
        apply_update(old, damage(update))


def test_an_update_of_another_network_is_refused() -> None:
    old = network()
    other = {**old, "2.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="is for another network"):
        apply_update(other, pack_update(old, moved(old)))
    with pytest.raises(ValueError, match="differ in names, shapes or types"):
        pack_update(old, other)
    with pytest.raises(ValueError, match=r"the mask of 2\.bias is torch\.float32 \(2,\); expected bool \(2,\)"):
        pack_update(old, moved(old), {"2.bias": torch.ones(2)})
