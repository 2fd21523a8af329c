"""Values published in papers, with their sources and how far they can be trusted (published.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from odkd.report.tables.spec import Table

FILE = Path(__file__).resolve().parent / "published.yaml"
Trust = Literal["primary", "unverified"]


@dataclass(frozen=True)
class Published:
    """A published table; `values` by row, variant and column, as printed in the paper."""

    paper: str
    place: str
    trust: Trust
    why: str
    values: Mapping[str, Mapping[str, Mapping[str, float]]]

    def value(self, row: str, variant: str, column: str) -> float | None:
        """Return the value of a cell; None if the paper has no such cell or it could not be read."""
        return self.values.get(row, {}).get(variant, {}).get(column)

    @property
    def heading(self) -> str:
        """The heading of its columns; values from secondary sources are always marked as unverified."""
        return "published" if self.trust == "primary" else "published, unverified"

    @property
    def source(self) -> str:
        return f"{self.paper}, {self.place} ({self.why})"


def load_published() -> dict[str, Published]:
    """Return all published tables by name."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return {name: Published(**entry) for name, entry in found.items()}


def published_beside(table: Table) -> Published | None:
    """Return the published table that `table` names; a chosen variant of it is repeated for all variants of `table`.

    Raises:
        ValueError: there is no such published table or variant.
    """
    chosen = table.published
    if chosen is None:
        return None
    known = load_published()
    if chosen.table not in known:
        raise ValueError(f"table {table.name}: nothing is published under {chosen.table}; known: {', '.join(known)}")
    found = known[chosen.table]
    if chosen.variant is None:
        return found
    if not any(chosen.variant in variants for variants in found.values.values()):
        raise ValueError(f"table {table.name}: {chosen.table} has no variant {chosen.variant!r}")
    values = {
        row: {variant.label: variants.get(chosen.variant, {}) for variant in table.variants}
        for row, variants in found.values.items()
    }
    return Published(found.paper, found.place, found.trust, found.why, values)
