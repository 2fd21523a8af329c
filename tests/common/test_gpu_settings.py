"""What a process sets for GPUs: products in float32 or TF32, and the message for a device whose memory is full."""

from collections.abc import Iterator

import pytest
import torch

from odkd.__main__ import user_message
from odkd.common.device import autocast, set_tf32
from odkd.common.isolation import isolated

GPU = torch.device("cuda")


def rounds() -> tuple[bool, bool]:
    """Return whether the factors of convolutions and of matrix products are rounded."""
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision() != "highest"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with isolated():
        yield


def test_float32_is_float32_beside_a_student_in_tf32() -> None:
    set_tf32(True)
    assert rounds() == (True, True)
    with autocast(GPU, "float32"):  # a teacher
        assert rounds() == (False, False)
    assert rounds() == (True, True)
    with autocast(GPU, "tf32"):
        assert rounds() == (True, True)


def test_products_of_a_run_in_float32_are_not_rounded_although_torch_would() -> None:
    assert torch.backends.cudnn.allow_tf32  # torch's default
    assert set_tf32(False) is True  # how it was
    assert rounds() == (False, False)


def test_a_full_device_is_one_message_that_says_what_to_lower() -> None:
    told = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB free. Of the allocated memory 3 GiB is ..."
    message = user_message(torch.OutOfMemoryError(told))
    assert message is not None
    assert message.startswith("the device's memory is full (CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert "Of the allocated" not in message
    assert "bank.memory_gib" in message
    assert user_message(RuntimeError(told)) is None
