"""Why a path is no file, in words, with the nearest name that there is."""

from pathlib import Path

from odkd.common.names import nearest

WEIGHT_ENDINGS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".onnx", ".distcp")


def no_file(path: Path) -> str:
    """Return in words why a path is no file: a folder, a link to nothing, or nothing; with the nearest name."""
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL
        return f"no file can have this name ({getattr(error, 'strerror', None) or error})"
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, which is not there; fetch or mount it"
    if not path.is_dir():
        return f"no such file{nearest_file(path)}"
    found = (path.glob(f"{below}*{ending}") for below in ("", "*/") for ending in WEIGHT_ENDINGS)
    inside = sorted(file for files in found for file in files)
    return f"a folder; expected a file{f', such as {inside[0]}' if inside else ''}"


def nearest_file(path: Path) -> str:
    """Return "; did you mean X?" for a nearly identical file name beside `path`, or an empty string.

    The cutoff is high because unrelated names often look alike.
    """
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    return nearest(path.name, (entry.name for entry in path.parent.iterdir()), cutoff=0.75)
