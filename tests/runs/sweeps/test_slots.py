"""Slots of the joblib launcher: devices and threads are shared evenly."""

from collections import Counter
from typing import Any

import pytest

from hydra_plugins.odkd_plugins.slots import check_numbers, slots, thread_settings
from odkd.common.threads import OF_THREADS


@pytest.mark.parametrize("num_gpus", [1, 2, 3])
@pytest.mark.parametrize("slots_per_gpu", [1, 2])
def test_slots_share_gpus_evenly(num_gpus: int, slots_per_gpu: int) -> None:
    def found(device: str, **environment: str) -> list[dict[str, str]]:
        return slots(None, slots_per_gpu, device, num_gpus=lambda: num_gpus, num_cores=12, environment=environment)

    counts = Counter(slot["CUDA_VISIBLE_DEVICES"] for slot in found("auto"))
    assert counts == {str(index): slots_per_gpu for index in range(num_gpus)}
    assert {slot["OMP_NUM_THREADS"] for slot in found("auto")} == {str(12 // (num_gpus * slots_per_gpu))}
    assert {slot["CUDA_VISIBLE_DEVICES"] for slot in found("cuda", CUDA_VISIBLE_DEVICES="GPU-a,5")} == {"GPU-a", "5"}
    assert found("cuda:1", OMP_NUM_THREADS="3") == [{}] * slots_per_gpu
    assert len(found("cpu")) == 3
    assert "CUDA_VISIBLE_DEVICES" not in found("cpu")[0]


@pytest.mark.parametrize("numbers", [(0, 1), (-1, 1), (True, 1), (2.0, 1), (2, 0), (2, None)])
def test_invalid_numbers_of_slots_are_refused(numbers: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="expected a whole number of at least 1"):
        check_numbers(**dict(zip(("n_jobs", "slots_per_gpu"), numbers, strict=True)))


def test_threads_are_set_unless_the_user_sets_them() -> None:
    assert thread_settings(3, {}) == dict.fromkeys(OF_THREADS, "3")
    assert thread_settings(3, {"MKL_NUM_THREADS": "1"}) == {}
