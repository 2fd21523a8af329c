"""The process of one part: `python -m gpu.child PART DEVICE FOLDER SHARED SECONDS`."""

import importlib
import sys
import warnings
from pathlib import Path

from gpu.place import Place
from gpu.result import Result


def main(name: str, device: str, folder: str, shared: str, seconds: str) -> None:
    """Run one part; its result is in FOLDER/result.json."""
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
    place = Place.make(device, Path(folder), Path(shared), float(seconds))
    importlib.import_module(f"gpu.parts.{name}").measure(
        place, Result(Path(folder) / "result.json", is_dry=place.is_dry)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
