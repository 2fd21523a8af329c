"""Compare the pinned releases with known advisories: by pip-audit where it and a network are, else by a stored list.

python scripts/audit.py [--stored] [FILE]  (FILE: constraints.txt; --stored: never ask the network)

The list, scripts/advisories.json, is made by scripts/advisories.py, with newer entries added by hand: pip-audit knows
more. Exit code 1 if a release is affected.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
STORED = Path(__file__).with_name("advisories.json")
NETWORK_SECONDS = 120.0


@dataclass(frozen=True)
class Advisory:
    """A known fault of releases of a package; `accepted` says why it is no reason to fail ("": it is one)."""

    id: str
    package: str
    affected: tuple[SpecifierSet, ...]
    what: str
    source: str
    accepted: str


def read_pins(path: Path) -> dict[str, str]:
    """Return the release of each package that a file of constraints pins with ==, by its canonical name.

    Raises:
        ValueError: a line is no pin.
    """
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not (text := line.partition("#")[0].strip()):
            continue
        try:
            requirement = Requirement(text)
            (pin,) = (one for one in requirement.specifier if one.operator == "==")
        except (InvalidRequirement, ValueError):
            raise ValueError(f"{path}, line {number}: {text}; expected PACKAGE==RELEASE") from None
        pins[canonicalize_name(requirement.name)] = pin.version
    return pins


def read_advisories(path: Path) -> tuple[str, list[Advisory]]:
    """Return the day to which the list was kept, and its entries."""
    content = json.loads(path.read_text())
    return content["kept"], [
        Advisory(
            entry["id"],
            canonicalize_name(entry["package"]),
            tuple(map(SpecifierSet, entry["affected"])),
            entry["what"],
            entry["source"],
            entry.get("accepted", ""),
        )
        for entry in content["advisories"]
    ]


def affected(pins: dict[str, str], advisories: list[Advisory]) -> list[Advisory]:
    """Return the advisories that concern a pinned release."""
    return [
        advisory
        for advisory in advisories
        if advisory.package in pins
        and any(releases.contains(pins[advisory.package], prereleases=True) for releases in advisory.affected)
    ]


def ask_network(path: Path) -> int | None:
    """Return the exit code of pip-audit (0: none known, 1: some, which it has printed); None if it cannot answer."""
    if importlib.util.find_spec("pip_audit") is None:
        return None
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(path), "--no-deps", "--disable-pip"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NETWORK_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if "vulnerabilit" not in done.stdout + done.stderr:  # both answers name them: "No known vulnerabilities found"
        return None
    print(done.stdout or done.stderr)
    return done.returncode


def main() -> int:
    """Print what is known of the pinned releases; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "constraints.txt")
    parser.add_argument("--stored", action="store_true", help="compare with the stored list, and ask no network")
    args = parser.parse_args()
    if not args.stored and (code := ask_network(args.file)) is not None:
        return code
    pins = read_pins(args.file)
    kept, advisories = read_advisories(STORED)
    found = affected(pins, advisories)
    for advisory in found:
        state = (
            f"accepted: {advisory.accepted}"
            if advisory.accepted
            else f"affected: {' or '.join(map(str, advisory.affected))}"
        )
        print(
            f"{advisory.package} {pins[advisory.package]}  {advisory.id}  {advisory.what} ({state})  {advisory.source}"
        )
    num_known = sum(advisory.package in pins for advisory in advisories)
    num_bad = sum(not advisory.accepted for advisory in found)
    print(
        f"{len(pins)} pinned releases against {num_known} stored advisories on them (list of {kept}; "
        f"pip-audit and a network know more): {num_bad} affected, {len(found) - num_bad} accepted"
    )
    return 1 if num_bad else 0


if __name__ == "__main__":
    sys.exit(main())
