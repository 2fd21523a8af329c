"""Keys of metrics, params and tags that MLflow accepts; two names never share one."""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable

KEY_CHARACTERS = 250  # MLflow's limit
DIGEST_CHARACTERS = 8  # of 180 classes with one key, two agree in them with probability 4e-6


def keys_in_mlflow(names: Iterable[str]) -> dict[str, str]:
    """Return {name: key} for names that are sent together, such as the metrics of a line.

    Classes and domains may have any name, and MLflow allows few characters. Where names would meet in one key, those
    that had to change end with a part of their digest, so that none overwrites another.

    >>> list(keys_in_mlflow(["test/iou/car+truck", "test/iou/car&truck", "test/iou/a*"]).values())
    ['test/iou/car_truck-52396677', 'test/iou/car_truck-ddefe72c', 'test/iou/a_']
    """
    plain = {name: key_in_mlflow(name) for name in names}
    counts = Counter(plain.values())
    return {name: key if counts[key] == 1 or key == name else _distinct(name, key) for name, key in plain.items()}


def key_in_mlflow(name: str) -> str:
    """Return the key of a name that is alone: `_` in place of characters, `.` and `..` that MLflow refuses."""
    accepted = re.sub(r"[^\w.\- :/]", "_", name)
    accepted = re.sub(r"(?:^|(?<=/))\.{1,2}(?=/|$)", "_", accepted)  # a class named .. is no folder above
    return posixpath.normpath(accepted)[:KEY_CHARACTERS].rstrip("/")


def _distinct(name: str, key: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]
    return f"{key[: KEY_CHARACTERS - DIGEST_CHARACTERS - 1]}-{digest}"
