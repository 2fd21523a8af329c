"""The audit of pinned releases without a network: what is affected is named, and the list itself is in order."""

import sys
from datetime import date
from pathlib import Path

import audit
import pytest


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
    assert all(a.source.endswith(a.id) and a.what and str(a.affected) for a in advisories)
