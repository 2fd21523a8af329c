"""Download of weights: once per file, resumed after a broken connection, bounded, checked against a digest.

One process downloads, others wait.
"""

import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from odkd.common.files import flush_names
from odkd.common.progress import Progress
from odkd.teachers.addresses import digest_of, is_open_to_all, local_path

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
MAX_BYTES = 16 << 30  # several times the largest published network
TIMEOUT_SECONDS = 30.0  # without a byte
ATTEMPTS = 4  # in a row that receive nothing
PAUSE_SECONDS = 1.0  # before the second attempt; doubled before each further one
RETRIED = (408, 429)  # the 4xx answers that are temporary: timeout, too many requests


class _CutOffError(Exception):
    """A connection that ended early or could not be opened."""


def download(url: str, folder: Path, *, attempts: int = ATTEMPTS, pause_seconds: float = PAUSE_SECONDS) -> Path:
    """Return the path of a URL's file in `folder`; download it if it is missing. One process downloads, others wait.

    Args:
        url: http or https; its digest (see `digest_of`) is checked.
        folder: is created if it does not exist.
        attempts: give up after this many attempts in a row that receive nothing.
        pause_seconds: before the second attempt; doubled before each further one.

    Raises:
        ValueError: no connection or no such file (the message says what to put where), or a wrong digest.
    """
    path, digest = local_path(url, folder), digest_of(url)
    if path.is_file():
        if wrong := _wrong_digest(path, digest):
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
    if digest_of(url) is None:  # nothing would show whether the rest belongs to this part
        part.unlink(missing_ok=True)
    logger.info("downloading %s to %s", url, path)
    if is_open_to_all(url) and len(digest_of(url) or "") < 64:
        logger.warning("%s is not encrypted: anybody on the way can replace the file; use https, or #sha256=...", url)
    try:
        _fetch(url, part, attempts, pause_seconds)
    except _CutOffError as error:
        raise ValueError(
            f"could not download {url} ({error}); fetch it on a machine with internet access and put it at {path}"
        ) from error
    if wrong := _wrong_digest(part, digest_of(url)):
        part.unlink()
        raise ValueError(
            f"the file from {url} is not what its address says ({wrong}); removed it. Run again, or tell its host"
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    flush_names(path.parent)


def _fetch(url: str, part: Path, attempts: int, pause_seconds: float) -> None:
    """Receive until the file is complete; each attempt continues where the last one ended."""
    with Progress("downloaded", "MB") as progress:
        _fetch_with(progress, url, part, attempts, pause_seconds)


def _fetch_with(progress: Progress, url: str, part: Path, attempts: int, pause_seconds: float) -> None:
    version: str | None = None
    failures = 0
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
        response = OPENER.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
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
    _check_room(part, (total or 0) - offset)
    with part.open("ab" if offset else "wb") as file:
        while (total is None or offset < total) and (chunk := _read(response)):
            _check_room(part, len(chunk))
            file.write(chunk)
            progress((offset := offset + len(chunk)) // 10**6, (total or offset) // 10**6, f" of {part.stem}")
    if total is not None and offset != total:
        raise _CutOffError(f"the connection ended after {offset} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _CutOffError(str(error) or type(error).__name__) from error


def _check_room(part: Path, more_bytes: int) -> None:
    """Check that a download is of a credible size and has room.

    Raises:
        ValueError: it is not, or has not.
    """
    if _size(part) + more_bytes > MAX_BYTES:
        raise ValueError(f"{part.stem} is larger than {MAX_BYTES >> 30} GiB, so it is no network; check its address")
    if more_bytes > (free := shutil.disk_usage(part.parent).free):
        raise ValueError(f"{part.stem} needs {more_bytes} bytes in {part.parent}, and {free} are free; make room")


class _StaysEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows redirects, except from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise ValueError(f"{req.full_url} leads to {newurl}, which is not encrypted; use another address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


OPENER = urllib.request.build_opener(_StaysEncrypted)


def _wrong_digest(path: Path, expected: str | None) -> str | None:
    """Return how a file's digest differs from the expected one or its start; None where they agree, or without one."""
    if expected is None:
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest.startswith(expected) else f"its sha256 begins with {digest[: len(expected)]}, not {expected}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
