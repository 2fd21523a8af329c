"""Whether the installed libraries can be imported, and which OpenMP runtimes they bring into one process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from odkd.commands.doctor.findings import Finding, Section
from odkd.common.optional import EXTRAS, how_to_install, is_installed

ALWAYS = ("torch", "numpy", "av", "PIL", "matplotlib", "numcodecs", "google_crc32c", "psutil", "pydantic")
OTHERS = ("cv2", "sklearn")  # that libraries of extras import
SECONDS = 120.0  # for all; transformers and mmseg take some each
KINDS = {"gomp": "GNU", "iomp5": "Intel", "omp": "LLVM", "vcomp": "Microsoft"}  # of OpenMP
LIBGL = ("libGL", "libgthread", "libglib", "libxcb", "libSM")  # what opencv-python wants of a desktop


def check_imports(libraries: Sequence[str] | None = None) -> Section:
    """Import what is installed in another process, and tell what fails.

    Args:
        libraries: to import; None = those of odkd and its extras that are installed.
    """
    wanted = libraries if libraries is not None else [*ALWAYS, *filter(is_installed, dict.fromkeys((*EXTRAS, *OTHERS)))]
    lines, ended = run_probe(wanted)
    done = {line["end"]: line for line in lines if "end" in line}
    begun = [line["begin"] for line in lines if "begin" in line]
    findings = [judged_import(name, line["error"]) for name, line in done.items() if line["error"]]
    if begun and begun[-1] not in done:
        advice = f"try it alone: python -c 'import {begun[-1]}'"
        findings.append(Finding("broken", f"import {begun[-1]}: the process {ended}", advice))
    if fine := [name for name, line in done.items() if not line["error"]]:
        findings.insert(0, Finding("ok", f"can be imported: {', '.join(fine)}"))
    brought = openmp_of(line for line in lines if "end" in line)
    return Section([*findings, *judged_openmp(brought)], {"openmp": brought})


def run_probe(libraries: Sequence[str], seconds: float = SECONDS) -> tuple[list[dict[str, Any]], str]:
    """Return the lines of `probe.py` about these libraries, and how its process has ended."""
    command = [sys.executable, "-m", "odkd.commands.doctor.probe", *libraries]
    ended = "ended early"
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False)
        content = done.stdout
        if done.returncode < 0:
            ended = f"was ended by signal {-done.returncode}"
    except subprocess.TimeoutExpired as error:
        content, ended = error.stdout or b"", f"gave no answer within {seconds:g} s"
    lines = content.decode(errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")], ended


def judged_import(name: str, error: str) -> Finding:
    """Return what it means that a library cannot be imported.

    >>> judged_import("cv2", "ImportError: libGL.so.1: cannot open shared object file").advice
    'apt install libgl1, or replace opencv-python with opencv-python-headless'
    """
    text = f"{name} is installed and cannot be imported ({error})"
    if any(library in error for library in LIBGL):
        return Finding("warning", text, "apt install libgl1, or replace opencv-python with opencv-python-headless")
    if name in ALWAYS:
        return Finding("broken", text, f"install it anew: pip install --force-reinstall {name}")
    return Finding("warning", text, f"install versions that fit together: {how_to_install(name)}")


def openmp_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return each OpenMP runtime, by path, with the library whose import brought it."""
    brought: dict[str, str] = {}
    for line in lines:
        for path in line["openmp"]:
            brought.setdefault(path, line["end"])
    return brought


def judged_openmp(brought: Mapping[str, str]) -> list[Finding]:
    """Return what several OpenMP runtimes in one process mean.

    Args:
        brought: as from `openmp_of`.
    """
    kinds: dict[str, list[str]] = {}
    for path, library in brought.items():
        kind = next(kind for name, kind in KINDS.items() if Path(path).name.startswith(f"lib{name}"))
        kinds.setdefault(kind, []).append(f"{Path(path).name} ({library})")
    shown = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    if len(kinds) > 1:
        advice = "install these libraries from one place (pip or conda, not both)"
        text = f"OpenMP runtimes of {len(kinds)} makers in one process, which may hang or compute wrongly: {shown}"
        return [Finding("warning", text, advice)]
    if len(brought) > 1:
        return [Finding("note", f"{len(brought)} copies of one OpenMP runtime, each with threads of its own: {shown}")]
    return [Finding("ok", f"one OpenMP runtime: {shown}")] if brought else []
