"""Slots for parallel jobs on one machine: their number, and the GPUs and threads of each."""

from collections.abc import Callable, Mapping

from odkd.common.threads import OF_THREADS

CORES_PER_JOB = 4  # without a GPU and without a given number of slots


def check_numbers(**numbers: int | None) -> None:
    """Raise ValueError for settings of a launcher that are not a whole number of at least 1 (n_jobs may be None)."""
    for name, value in numbers.items():
        if not (type(value) is int and value >= 1) and not (value is None and name == "n_jobs"):
            raise ValueError(f"hydra.launcher.{name}={value}; expected a whole number of at least 1")


def thread_settings(num_cores: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables that give a process `num_cores` threads; none if the user has set one in `environment`."""
    return {} if any(name in environment for name in OF_THREADS) else dict.fromkeys(OF_THREADS, str(num_cores))


def slots(
    n_jobs: int | None,
    slots_per_gpu: int,
    device: str,
    *,
    num_gpus: Callable[[], int],
    num_cores: int,
    environment: Mapping[str, str],
) -> list[dict[str, str]]:
    """Return the environment variables of each slot's process.

    With GPUs, each slot sees one GPU, in turn; with `device=cuda:N` all slots see the GPUs of the launching process
    and use that one. Without GPUs, the cores are divided among the slots. Variables in `environment` are not changed.

    >>> slots(None, 2, "cuda", num_gpus=lambda: 2, num_cores=8, environment={"OMP_NUM_THREADS": "1"})
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'CUDA_VISIBLE_DEVICES': '0'}, {'CUDA_VISIBLE_DEVICES': '1'},
     {'CUDA_VISIBLE_DEVICES': '0'}, {'CUDA_VISIBLE_DEVICES': '1'}]
    >>> slots(4, 1, "cpu", num_gpus=lambda: 0, num_cores=8, environment={})[3]["OMP_NUM_THREADS"]
    '2'
    """
    visible = gpus(device, num_gpus, environment)
    number = n_jobs or (len(visible) * slots_per_gpu if visible else max(2, num_cores // CORES_PER_JOB))
    threads = thread_settings(max(1, num_cores // number), environment)
    if visible and not device.startswith("cuda:"):
        return [{"CUDA_VISIBLE_DEVICES": visible[slot % len(visible)], **threads} for slot in range(number)]
    return [dict(threads) for _ in range(number)]


def gpus(device: str, num_gpus: Callable[[], int], environment: Mapping[str, str]) -> list[str]:
    """Return the names of the GPUs that jobs with this `device` can use, in the form of CUDA_VISIBLE_DEVICES."""
    if device.startswith("cuda:"):
        return [device.removeprefix("cuda:")]
    if device not in ("auto", "cuda"):
        return []
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    return [str(index) for index in range(num_gpus())]
