"""Download of weights: once per file, resumed after a broken connection, checked against the digest in the name."""

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from odkd.common.progress import Progress

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0  # without a byte
ATTEMPTS = 4  # in a row that receive nothing
PAUSE_SECONDS = 1.0  # before the second attempt; doubled before each further one
RETRIED = (408, 429)  # the 4xx answers that are temporary: timeout, too many requests


class _CutOffError(Exception):
    """A connection that ended early or could not be opened."""


def is_url(text: str) -> bool:
    """True for the address of a file on the web."""
    return text.startswith(("http://", "https://"))


def name_digest(name: str) -> str | None:
    """Return the start of the sha256 in a file's name, as OpenMMLab and torchvision write it; None without one.

    >>> name_digest("pspnet_r101b-d8_512x1024_80k_cityscapes_20201226_170012-3a4d38ab.pth")
    '3a4d38ab'
    >>> name_digest("mine-20240131.pth") is None  # a date
    True
    """
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found[1] if found and not re.fullmatch(r"20\d{6}", found[1]) else None


def local_path(url: str, folder: Path) -> Path:
    """Return the path below `folder` of a URL's file.

    Names without a digest may mean different files at different URLs, so that each URL has a subfolder.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "file"
    return folder / name if name_digest(name) else folder / hashlib.sha256(url.encode()).hexdigest()[:12] / name


def download(url: str, folder: Path, *, attempts: int = ATTEMPTS, pause_seconds: float = PAUSE_SECONDS) -> Path:
    """Return the path of a URL's file in `folder`; download it if it is missing. One process downloads, others wait.

    Args:
        url: http or https; a digest in the name (see `name_digest`) is checked.
        folder: is created if it does not exist.
        attempts: give up after this many attempts in a row that receive nothing.
        pause_seconds: before the second attempt; doubled before each further one.

    Raises:
        ValueError: no connection or no such file (the message says what to put where), or a wrong digest.
    """
    path = local_path(url, folder)
    if path.is_file():
        if wrong := _wrong_digest(path, path.name):
            raise ValueError(f"{path} is damaged or another file ({wrong}); delete it and run again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _turn(path):
        if not path.is_file():
            _download(url, path, attempts, pause_seconds)
    return path


def _turn(path: Path) -> AbstractContextManager[Any]:
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process downloads %s; waiting for it", path.name)
        return lock.acquire()


def _download(url: str, path: Path, attempts: int, pause_seconds: float) -> None:
    part = path.with_name(f"{path.name}.part")
    if name_digest(path.name) is None:  # nothing would show whether the rest belongs to this part
        part.unlink(missing_ok=True)
    logger.info("downloading %s to %s", url, path)
    try:
        _fetch(url, part, attempts, pause_seconds)
    except _CutOffError as error:
        raise ValueError(
            f"could not download {url} ({error}); fetch it on a machine with internet access and put it at {path}"
        ) from error
    if wrong := _wrong_digest(part, path.name):
        part.unlink()
        raise ValueError(
            f"the file from {url} is not what its name says ({wrong}); removed it. Run again, or tell its host"
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _fetch(url: str, part: Path, attempts: int, pause_seconds: float) -> None:
    """Receive until the file is complete; each attempt continues where the last one ended."""
    version: str | None = None
    progress, failures = Progress("downloaded", "MB"), 0
    while True:
        before = _size(part)
        try:
            response = _open(url, before, version)
            if response is not None:  # else the part is the complete file
                with response:
                    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
                    _receive(response, part, progress)
            return
        except _CutOffError as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= attempts:
                raise
            logger.warning("download of %s was cut off: %s; trying again", url, error)
            time.sleep(pause_seconds * 2 ** max(failures - 1, 0))
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise _CutOffError(f"HTTP {error.code} {error.reason}") from error
            part.unlink()  # it is longer than the file, so not a part of it
            failures += 1
            if failures >= attempts:
                raise _CutOffError("HTTP 416 repeatedly") from error


def _open(url: str, offset: int, version: str | None) -> http.client.HTTPResponse | None:
    """Return the answer to a request for the bytes from `offset`; None where there are no more."""
    headers = {"User-Agent": "odkd"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version and not version.startswith("W/"):
            headers["If-Range"] = version  # a file that has changed is sent from its start
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{offset}":
            return None
        if error.code >= 500 or error.code in RETRIED:
            raise _CutOffError(f"HTTP {error.code} {error.reason}") from error
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(str(getattr(error, "reason", None) or error or type(error).__name__)) from error
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _receive(response: http.client.HTTPResponse, part: Path, progress: Progress) -> None:
    """Append to `part`; overwrite it where the server sends the complete file."""
    offset, total = 0, None
    length = response.headers.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != _size(part):
            part.unlink()
            raise _CutOffError("the server answered with another range")
        offset, total = int(found[1]), int(found[2])
    elif length is not None:
        total = int(length)
    with part.open("ab" if offset else "wb") as file:
        while (total is None or offset < total) and (chunk := _read(response)):
            file.write(chunk)
            progress((offset := offset + len(chunk)) // 10**6, (total or offset) // 10**6, f" of {part.stem}")
    if total is not None and offset != total:
        raise _CutOffError(f"the connection ended after {offset} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(str(error) or type(error).__name__) from error


def _wrong_digest(path: Path, name: str) -> str | None:
    """Return how a file's digest differs from the one in its name; None where they agree or the name has none."""
    expected = name_digest(name)
    if expected is None:
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest.startswith(expected) else f"its sha256 begins with {digest[: len(expected)]}, not {expected}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
