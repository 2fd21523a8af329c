"""Renew scripts/advisories.json, which `make audit` reads without a network, from the Python advisory database.

python scripts/advisories.py FOLDER  (FOLDER: a clone of https://github.com/pypa/advisory-database, CC BY 4.0)

Every advisory on a package that constraints.txt pins is taken, unless it was withdrawn. Entries that were added by hand
stay until the database has them, by any of their names.
"""

import argparse
import json
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from audit import ROOT, STORED, read_pins
from packaging.utils import canonicalize_name

WHAT = 110  # letters of a description


def affected_of(ranges: list[Mapping[str, Any]]) -> list[str]:
    """Return the affected releases of an advisory as requirements, of which one must hold.

    `ranges` are as in the Open Source Vulnerability format, https://ossf.github.io/osv-schema: events in their order.

    >>> affected_of([{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2"}]}])
    ['<1.2', '>=2']
    """
    found: list[str] = []
    for events in (each["events"] for each in ranges if each["type"] == "ECOSYSTEM"):
        since: str | None = None
        for event in events:
            ((kind, release),) = event.items()
            if kind == "introduced":
                since = "" if release == "0" else f">={release}"
            elif since is not None:
                end = f"{'<' if kind == 'fixed' else '<='}{release}"
                found.append(f"{since},{end}" if since else end)
                since = None
        if since is not None:
            found.append(since or ">=0")
    return found


def advisories_in(folder: Path, packages: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield an entry of the list for each advisory of the database on one of these packages, with all its names."""
    for path in sorted((folder / "vulns").glob("*/*.yaml")):
        known = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        if known.get("withdrawn"):
            continue
        for part in known["affected"]:
            if (package := canonicalize_name(part["package"]["name"])) in packages:
                names = [known["id"], *known.get("aliases", [])]
                yield {
                    "id": next((name for name in names if name.startswith("CVE-")), known["id"]),
                    "package": package,
                    "affected": affected_of(part["ranges"]),
                    "what": textwrap.shorten(known["details"], WHAT, placeholder=" ..."),
                    "source": f"https://osv.dev/vulnerability/{known['id']}",
                    "date": str(known.get("published", known["modified"]))[:10],
                    "names": names,
                }


def renewed(stored: Mapping[str, Any], found: list[dict[str, Any]], newest: str) -> dict[str, Any]:
    """Return the list with what was found in place of what it had of it; `newest` is the day of the database.

    An entry that is accepted stays so.
    """
    before = {(entry["id"], entry["package"]): entry for entry in stored["advisories"]}
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for fresh in found:
        named = [(name, fresh["package"]) for name in fresh["names"]]
        reasons = [before[name]["accepted"] for name in named if "accepted" in before.get(name, {})]
        entry = {key: value for key, value in fresh.items() if key != "names"}
        key = (entry["id"], entry["package"])
        if key in entries:  # an advisory in two parts
            entry["affected"] = list(dict.fromkeys([*entries[key]["affected"], *entry["affected"]]))
        entries[key] = entry | ({"accepted": reasons[0]} if reasons else {})
        before = {name: other for name, other in before.items() if name not in named}
    ordered = sorted([*entries.values(), *before.values()], key=lambda e: (e["package"], e["date"], e["id"]))
    return {**stored, "database": newest, "advisories": ordered}


def main() -> None:
    """Write the list anew, and print how many entries it has from where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    day = subprocess.run(
        ["git", "-C", str(folder), "log", "-1", "--format=%cs"], capture_output=True, text=True, check=True
    ).stdout.strip()
    found = list(advisories_in(folder, read_pins(ROOT / "constraints.txt")))
    content = renewed(json.loads(STORED.read_text()), found, day)
    STORED.write_text(json.dumps(content, indent=1) + "\n")
    num_of_it = sum("osv.dev" in entry["source"] for entry in content["advisories"])
    print(f"{num_of_it} advisories of the database ({day}), {len(content['advisories']) - num_of_it} added by hand")


if __name__ == "__main__":
    main()
