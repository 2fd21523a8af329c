"""Folders of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
NOTEBOOKS = ROOT / "notebooks"
SHARED = ROOT.parent / "shared"  # real data beside the checkout, where it has some
