"""Errors that are a user's mistakes, or that the user can do something about, each as one line."""

import errno
import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # the folder odkd/
AGAIN = "then give the same command again: it goes on from here"
ADVICE: dict[int, tuple[str, str]] = {  # errno -> what it means, what to do
    errno.ENOSPC: ("the disk is full", f"make room, {AGAIN}"),
    errno.EDQUOT: ("your share of the disk is full", f"make room, or ask for a larger quota, {AGAIN}"),
    errno.EIO: ("the disk, or its connection, has failed", f"look at the system's log, {AGAIN}"),
    errno.ESTALE: ("the network's disk has changed under this process", "give the same command again"),
    errno.ETIMEDOUT: (
        "there was no answer in time",
        "check the network, and give the same command again",
    ),
    errno.EMFILE: ("this process has too many open files", f"raise the limit (ulimit -n), {AGAIN}"),
    errno.ENFILE: ("the system has too many open files", f"close other programs, {AGAIN}"),
    errno.ENOMEM: ("there is no memory left", f"close other programs, or use smaller settings, {AGAIN}"),
    errno.ENAMETOOLONG: ("a name or path is too long", "choose shorter names, or a folder nearer to the root"),
    errno.ELOOP: ("links lead to each other", "remove one of them"),
    errno.EPERM: ("the system does not permit it", "choose another folder, or ask who owns this one"),
    errno.ETXTBSY: ("another program uses that file", "end it, and give the same command again"),
    errno.EBUSY: ("another program uses that file", "end it, and give the same command again"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        ("cannot read or write there", "choose another place (of runs: paths.outputs= or paths.labels=)"),
    ),
}


def line_of(error: BaseException) -> str | None:
    """Return an error as one line for the user; None for a fault of odkd, which needs its traceback."""
    if is_mistake(error):
        return " ".join(str(error).splitlines())  # a value or a name in it, or a library's message, may have several
    if isinstance(error, OSError) and error.errno is not None:
        return system_message(error)
    if isinstance(error, RecursionError):
        return "something is nested too deeply: a value in the command, a YAML or JSON file; make it flatter"
    return memory_message(error)


def system_message(error: OSError) -> str:
    """Return what the operating system has refused, and what to do."""
    told = " ".join(str(error).split())
    default = ("the system has refused it", "give the same command again; HYDRA_FULL_ERROR=1 shows where it happens")
    meaning, advice = ADVICE.get(error.errno or 0, default)
    return f"{meaning} ({told}); {advice}"


def memory_message(error: BaseException) -> str | None:
    """Return the message for a memory that is full; None for other errors."""
    if isinstance(error, MemoryError):
        return (
            f"there is no memory left ({str(error)[:200] or 'MemoryError'}); lower dataset.size, bank.memory_gib or "
            "stage.batch_size, or close other programs"
        )
    kind = type(error)
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch, on CPUs
        return f"there is no memory left ({' '.join(str(error).split())[:200]}); lower dataset.size or stage.batch_size"
    if kind.__name__ != "OutOfMemoryError" or not kind.__module__.startswith("torch"):  # torch may not be imported
        return None
    told = " ".join(str(error).split(" Of the allocated memory")[0].split())
    return (
        f"the device's memory is full ({told:.300}); lower bank.memory_gib, set stage.batch_size and "
        "evaluation.batch_size to 1, or use precision=bfloat16 or a smaller dataset.size"
    )


def is_mistake(error: BaseException) -> bool:
    """True for a ValueError raised by odkd itself, which is a user's mistake."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(PACKAGE)
    return is_ours and isinstance(error, ValueError)
