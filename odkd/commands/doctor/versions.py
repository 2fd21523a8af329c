"""Which releases are installed, whether odkd was tested with them, and which extras are there."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from odkd.commands.doctor.findings import Finding, Section
from odkd.common.optional import version_of

# The newest releases with which the default tests passed: constraints.txt, or the newest of docs/install.md. The oldest
# are the lower bounds of pyproject.toml. A test compares all three.
NEWEST = {
    **{"torch": "2.14.1", "numpy": "2.5.5", "hydra-core": "1.3.8", "omegaconf": "2.3.1", "av": "19.0.2"},
    **{"pillow": "13.0.0", "numcodecs": "0.16.6", "google-crc32c": "1.9.0", "filelock": "4.3.1", "joblib": "1.6.0"},
    **{"cloudpickle": "3.1.3", "safetensors": "0.8.0", "psutil": "7.2.2", "pydantic": "2.14.4", "tqdm": "4.70.1"},
    **{"annotated-types": "0.8.0", "matplotlib": "3.11.2", "jinja2": "3.1.6", "mlflow-skinny": "3.17.2"},
    **{"mlflow": "3.17.2", "sqlalchemy": "2.1.9", "alembic": "1.20.1", "segmentation-models-pytorch": "0.6.0"},
    **{"timm": "1.0.31", "transformers": "5.24.0", "scipy": "1.17.1", "onnxruntime": "1.32.0", "onnx": "1.23.2"},
    **{"onnxscript": "0.7.2", "tensorboard": "2.21.0", "wandb": "0.31.0", "starlette": "1.10.0", "uvicorn": "0.54.0"},
    **{"optuna": "5.0.0", "submitit": "1.5.4", "ray": "2.60.0", "torchcodec": "0.17.0"},
    **{"onedl-mmsegmentation": "1.4.2", "onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6"},
}
NEWEST_PYTHON = "3.13"
OF_DEVELOPMENT = ("docs", "test", "dev")
TWINS = (  # distributions of one library, of which the later one hides the other
    ("opencv-python", "opencv-python-headless"),
    ("onnxruntime", "onnxruntime-gpu"),
)
Lookup = Callable[[str], str | None]


@dataclass(frozen=True)
class Needed:
    """A library that odkd, or one of its extras, needs.

    Args:
        name: of the distribution.
        bounds: of its releases, such as >=2.6.
        extra: that brings it; "" = odkd itself.
    """

    name: str
    bounds: str
    extra: str


def needed() -> list[Needed]:
    """Return what the installed odkd needs, as its metadata say.

    Raises:
        importlib.metadata.PackageNotFoundError: odkd is not installed.
    """
    from packaging.requirements import Requirement

    found = []
    for line in importlib.metadata.requires("odkd") or []:
        requirement = Requirement(line)
        marker = str(requirement.marker or "")
        extra = marker.partition("extra == ")[2].strip("\"' ")
        if extra not in OF_DEVELOPMENT and requirement.name != "odkd":
            found.append(Needed(requirement.name.lower().replace("_", "-"), str(requirement.specifier), extra))
    return found


def check_versions() -> Section:
    """Compare the installed releases with those that odkd needs and was tested with."""
    try:
        wanted = needed()
    except importlib.metadata.PackageNotFoundError:
        return Section([Finding("broken", "odkd is not installed", "pip install . in its folder")])
    findings = [*_python(), *judged(wanted, version_of), *_extras(wanted, version_of), *_twins(version_of)]
    installed = {one.name: version_of(one.name) for one in wanted}
    facts = {"python": platform.python_version(), "odkd": version_of("odkd"), **installed}
    return Section(findings, facts)


def judged(wanted: Iterable[Needed], version: Lookup) -> list[Finding]:
    """Return findings about the releases of libraries: those outside their bounds are broken, newer ones are a note.

    Args:
        wanted: what odkd needs.
        version: returns the installed release of a distribution, or None.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    fine, newer, findings = list[str](), list[str](), list[Finding]()
    for one in wanted:
        installed = version(one.name)
        if installed is None:
            if not one.extra:
                advice = f"pip install '{one.name}{one.bounds}'"
                findings.append(Finding("broken", f"{one.name} is not installed", advice))
            continue
        try:
            release = Version(installed)
        except InvalidVersion:
            findings.append(Finding("note", f"{one.name} {installed}: its version cannot be compared"))
            continue
        if not SpecifierSet(one.bounds).contains(release, prereleases=True):
            text = f"{one.name} {installed}: {'odkd' if not one.extra else f'the extra {one.extra}'} needs {one.bounds}"
            findings.append(
                Finding("warning" if one.extra else "broken", text, f"pip install '{one.name}{one.bounds}'")
            )
        elif one.name in NEWEST and Version(release.public) > Version(NEWEST[one.name]):
            newer.append(f"{one.name} {installed} (tested up to {NEWEST[one.name]})")
        else:
            fine.append(f"{one.name} {installed}")
    if newer:
        findings.append(Finding("note", f"newer than odkd was tested with: {', '.join(dict.fromkeys(newer))}"))
    if fine:
        findings.insert(0, Finding("ok", f"within what odkd was tested with: {', '.join(dict.fromkeys(fine))}"))
    return findings


def _python() -> list[Finding]:
    version = platform.python_version()
    if tuple(map(int, version.split(".")[:2])) > tuple(map(int, NEWEST_PYTHON.split("."))):
        return [Finding("note", f"Python {version} is newer than odkd was tested with ({NEWEST_PYTHON})")]
    return [Finding("ok", f"Python {version}")]


def _extras(wanted: Iterable[Needed], version: Lookup) -> list[Finding]:
    """Return which extras are there, absent, or there in part."""
    extras: dict[str, list[str]] = {}
    for one in wanted:
        if one.extra:
            extras.setdefault(one.extra, []).append(one.name)
    missing = {extra: [name for name in names if version(name) is None] for extra, names in extras.items()}
    present = [extra for extra, names in missing.items() if not names]
    absent = [extra for extra, names in missing.items() if names == extras[extra]]
    partly = [extra for extra in missing if extra not in (*present, *absent)]
    findings = [Finding("ok", f"extras: {', '.join(present)}")] if present else []
    if absent:
        advice = f"pip install 'odkd[{','.join(absent)}]', if you need what they bring (docs/install.md)"
        findings.append(Finding("note", f"extras that are not installed: {', '.join(absent)}", advice))
    for extra in partly:
        text = f"the extra {extra} lacks {', '.join(missing[extra])}"
        findings.append(Finding("note", text, f"pip install 'odkd[{extra}]'"))
    return findings


def _twins(version: Lookup) -> list[Finding]:
    """Return findings about distributions that overwrite each other, or do not fit together."""
    findings = []
    for names in TWINS:
        if all(map(version, names)):
            advice = f"pip uninstall {' '.join(names)}, then install the one that you want"
            findings.append(
                Finding("warning", f"{' and '.join(names)} are installed, and overwrite each other", advice)
            )
    full, skinny = version("mlflow"), version("mlflow-skinny")
    if full and skinny and full != skinny:
        advice = f"pip install 'mlflow-skinny=={full}'"
        findings.append(Finding("warning", f"mlflow {full} and mlflow-skinny {skinny} are of two releases", advice))
    return findings


def releases_of(facts: Mapping[str, str | None]) -> str:
    """Return the releases that a bug report needs first, in one line."""
    return ", ".join(f"{name} {facts[name]}" for name in ("odkd", "python", "torch", "numpy", "av") if facts.get(name))
