"""The compiler that torch.compile runs: looked for before a run begins, because torch does so at the first batch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_compiler(device: torch.device) -> None:
    """Check that `compile=true` finds a compiler: of C++ for the CPU, of C for the GPU, where torch looks for them.

    Raises:
        ValueError: there is none that answers.
    """
    if os.name == "nt" or device.type not in ("cpu", "cuda") or "TORCH_INDUCTOR_INSTALL_GXX" in os.environ:
        return
    variable, language, defaults = (
        ("CXX", "C++", ["clang++" if sys.platform == "darwin" else "g++"])
        if device.type == "cpu"
        else ("CC", "C", ["gcc", "clang"])
    )
    given = os.environ.get(variable)
    names = [given] if given is not None else defaults
    if not any(map(_answers, names)):
        found = (
            f"{variable}={given} is none that runs" if given is not None else f"there is no {' or '.join(names)} here"
        )
        raise ValueError(f"compile=true needs a {language} compiler, and {found}; install one, or set compile=false")


def compiler_message(error: BaseException) -> str | None:
    """Return an error of torch.compile as one line, such as missing headers; None for other errors."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in lines if "rror:" in line), lines[0] if lines else type(error).__name__)
    return f"torch.compile failed: {telling:.200}; set compile=false, or HYDRA_FULL_ERROR=1 to see all of the error"


def _answers(name: str) -> bool:
    try:
        return subprocess.run([name, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
