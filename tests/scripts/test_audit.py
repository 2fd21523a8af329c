"""The audit of pinned releases without a network: what is affected is named, and the list itself is in order."""

import sys
from datetime import date
from pathlib import Path

import advisories
import audit
import pytest
from packaging.specifiers import SpecifierSet


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audit.py", "--stored", *arguments])
    return audit.main()


def test_the_pinned_releases_have_no_known_fault_that_is_not_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0, capsys.readouterr().out


def test_an_affected_release_is_named_with_its_advisory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("# old\nTorch==2.5.1\npillow==11.2.1  # a range\nnumpy==2.0.0\n")
    assert run(monkeypatch, str(pins)) == 1
    printed = capsys.readouterr().out
    assert "torch 2.5.1  CVE-2025-32434" in printed
    assert "pillow 11.2.1  CVE-2025-48379" in printed
    assert "CVE-2023-50447" not in printed
    pins.write_text("torch>=2\n")
    with pytest.raises(ValueError, match=r"line 1: torch>=2; expected PACKAGE==RELEASE"):
        run(monkeypatch, str(pins))


def test_every_stored_advisory_is_complete_and_of_a_package_that_may_be_installed() -> None:
    kept, advisories = audit.read_advisories(audit.STORED)
    date.fromisoformat(kept)
    assert len({(a.id, a.package) for a in advisories}) == len(advisories) > 50
    assert all(a.what and a.affected and all(map(str, a.affected)) for a in advisories)
    assert all(
        a.source.endswith(a.id) or a.source.startswith("https://osv.dev/vulnerability/PYSEC-") for a in advisories
    )


DATABASE = {
    "pillow/PYSEC-1.yaml": """id: PYSEC-1
modified: 2026-02-01T00:00:00Z
aliases: [CVE-2026-1, GHSA-x]
details: A picture that is read twice.
affected:
- package: {ecosystem: PyPI, name: Pillow}
  ranges:
  - {type: GIT, events: [{introduced: "0"}, {fixed: abcdef}]}
  - {type: ECOSYSTEM, events: [{introduced: "1.0"}, {fixed: "1.2"}, {introduced: "2.0"}, {last_affected: "2.1"}]}
  versions: ["1.1", "2.1"]
""",
    "torch/PYSEC-2.yaml": "id: PYSEC-2\nmodified: 2026-01-01T00:00:00Z\nwithdrawn: 2026-02-01T00:00:00Z\naffected:\n"
    "- package: {name: torch}\n  ranges: []\n",
    "torch/PYSEC-3.yaml": "id: PYSEC-3\nmodified: 2026-01-01T00:00:00Z\npublished: 2025-01-01T00:00:00Z\n"
    "details: never mended\naffected:\n- package: {name: torch}\n"
    "  ranges: [{type: ECOSYSTEM, events: [{introduced: '0'}]}]\n",
    "other/PYSEC-4.yaml": "id: PYSEC-4\nmodified: 2026-01-01T00:00:00Z\ndetails: x\naffected:\n"
    "- package: {name: other}\n  ranges: []\n",
}


def test_the_list_is_renewed_from_a_clone_of_the_database(tmp_path: Path) -> None:
    for name, text in DATABASE.items():
        (tmp_path / "vulns" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "vulns" / name).write_text(text)
    found = list(advisories.advisories_in(tmp_path, {"pillow": "2.2", "torch": "3"}))
    by_hand = {
        "id": "GHSA-x",
        "package": "pillow",
        "affected": ["<9"],
        "what": "x",
        "source": "s",
        "date": "2026-01-01",
    }
    kept = by_hand | {"id": "CVE-2026-9"}
    stored = {"about": "a", "advisories": [by_hand | {"accepted": "never read here"}, kept]}
    content = advisories.renewed(stored, found, "2026-02-02")
    assert content["database"] == "2026-02-02"
    assert content["about"] == "a"
    first, second, third = content["advisories"]
    assert first == kept
    assert second == {
        "id": "CVE-2026-1",
        "package": "pillow",
        "affected": [">=1.0,<1.2", ">=2.0,<=2.1"],
        "what": "A picture that is read twice.",
        "source": "https://osv.dev/vulnerability/PYSEC-1",
        "date": "2026-02-01",
        "accepted": "never read here",
    }
    assert (third["id"], third["affected"], third["date"]) == ("PYSEC-3", [">=0"], "2025-01-01")
    assert advisories.renewed(content, found, "2026-02-02") == content
    read = audit.Advisory("x", "pillow", tuple(map(SpecifierSet, second["affected"])), "", "", "")
    assert [bool(audit.affected({"pillow": pin}, [read])) for pin in ("0.9", "1.1", "1.2", "2.1", "2.2")] == [
        *(False, True, False, True, False)
    ]
