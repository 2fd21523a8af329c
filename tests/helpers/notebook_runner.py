"""Notebooks executed in a folder and with parameters of a test, and the values of expressions at their end."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extras import need
from paths import NOTEBOOKS

SECONDS = 300  # time limit of one cell


def run_notebook(name: str, folder: Path, parameters: dict[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """Execute notebooks/NAME with `folder` as its working directory.

    A cell tagged `parameters` is followed by one that sets `parameters` (Python literals), as papermill does.
    Returns the values of the expressions `results` at the end, by expression, as read from JSON. An error in a cell
    is raised with its traceback.
    """
    nbclient = need("nbclient")
    need("ipykernel")
    import nbformat

    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (place,) = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assignments = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(assignments))
    wanted = ", ".join(f"{key!r}: {key}" for key in results)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({{{wanted}}}))"))
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources)
    asyncio.run(client.async_execute())
    found: dict[str, Any] = json.loads(notebook.cells[-1].outputs[-1]["text"])
    return found


def assert_is_clean(name: str) -> None:
    """Check that a notebook has neither outputs nor execution counts."""
    notebook = json.loads((NOTEBOOKS / name).read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), cell["source"]
        assert cell.get("execution_count") is None, cell["source"]
    assert "kernelspec" not in notebook["metadata"] or notebook["metadata"]["kernelspec"]["name"] == "python3"
