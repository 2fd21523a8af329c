"""What a part has found: figures with their bounds, tables and notes, on disk after each of them."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Cell = float | int | str | bool | None


@dataclass(frozen=True)
class Figure:
    """A number with what it must be.

    Args:
        name: of what was measured.
        value: None if there is none, for example because a run failed; it misses any bound then.
        bound: "at most 1.1", "at least 0.9"; empty = for information.
        is_ok: within the bound; None = not judged.
        remark: why it is not judged, or how it was found.
    """

    name: str
    value: float | None
    unit: str = ""
    bound: str = ""
    is_ok: bool | None = None
    remark: str = ""

    def text(self) -> str:
        """Return the figure in one line.

        >>> Figure("loop over bare network", 1.234, bound="at most 1.1", is_ok=False).text()
        'loop over bare network: 1.234, expected at most 1.1'
        """
        value = "no value" if self.value is None else f"{show(self.value)} {self.unit}".strip()
        return f"{self.name}: {value}{f', expected {self.bound}' if self.bound else ''}"


class Result:
    """The findings of one part, written to a file whenever something is added; a killed part loses nothing.

    Args:
        path: of the file.
        is_dry: a dry run: figures that only a GPU can show have no verdict.
    """

    def __init__(self, path: Path, *, is_dry: bool) -> None:
        self._path, self._is_dry = path, is_dry
        self.figures: list[Figure] = []
        self.tables: dict[str, list[dict[str, Cell]]] = {}
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self._write()

    def figure(
        self,
        name: str,
        value: float | None,
        *,
        unit: str = "",
        at_most: float | None = None,
        at_least: float | None = None,
        needs_gpu: bool = False,
        remark: str = "",
    ) -> None:
        """Add a figure. `needs_gpu`: in a dry run it has no verdict, as with every time on a CPU."""
        bound = " and ".join(f"at {w} {show(v)}" for w, v in (("least", at_least), ("most", at_most)) if v is not None)
        is_ok: bool | None = None
        if bound and not (needs_gpu and self._is_dry):
            is_known = value is not None and math.isfinite(value)
            is_ok = is_known and (at_least or -math.inf) <= float(value or 0) <= (
                math.inf if at_most is None else at_most
            )
        elif bound:
            remark = f"{remark}; not judged on a CPU" if remark else "not judged on a CPU"
        self.figures.append(Figure(name, value, unit, bound, is_ok, remark))
        self._write()

    def row(self, table: str, **cells: Cell) -> None:
        """Add a row to a table."""
        self.tables.setdefault(table, []).append(cells)
        self._write()

    def note(self, text: str) -> None:
        """Add a sentence to the report."""
        self.notes.append(text)
        self._write()

    def leave_out(self, what: str, why: str) -> None:
        """Say by name what is not measured."""
        self.left_out.append(f"{what}: {why}")
        self._write()

    def _write(self) -> None:
        content = {name: getattr(self, name) for name in ("tables", "notes", "left_out")}
        content["figures"] = [asdict(figure) for figure in self.figures]
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(self._path)


def read_result(path: Path) -> dict[str, Any]:
    """Return what a part has written so far; empty findings if nothing."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        found = {"figures": [], "tables": {}, "notes": [], "left_out": []}
    return found | {"figures": [Figure(**figure) for figure in found["figures"]]}


def show(value: Cell) -> str:
    """Return a value as text; floats with three decimals below 10, otherwise one, small ones with an exponent.

    >>> show(1.0 / 3), show(24.0), show(3e-6), show(None), show(True)
    ('0.333', '24', '3e-06', '', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or (float(value).is_integer() and abs(value) < 1e6):
        return str(int(value))
    if abs(value) < 1e-3:
        return f"{value:.1g}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
