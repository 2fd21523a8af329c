"""Addresses of files on the web: where a file lies once it is downloaded, and what is known of its digest.

A digest is that of the address, URL#sha256=..., or the start of one in the name of the file. The few digits of a name
protect from damage; only the whole digest also protects from a file that somebody has replaced.
"""

import hashlib
import re
import urllib.parse
from pathlib import Path


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
    address = url.partition("#")[0]
    return folder / name if name_digest(name) else folder / hashlib.sha256(address.encode()).hexdigest()[:12] / name


def digest_of(url: str) -> str | None:
    """Return what is known of the sha256 of a URL's file: all of it after #, or its start in the name; else None.

    Raises:
        ValueError: what follows # is no digest.
    """
    fragment = urllib.parse.urlsplit(url).fragment
    if not fragment:
        return name_digest(local_path(url, Path()).name)
    if not (found := re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)):
        raise ValueError(f"{url}: #{fragment} is no digest; expected #sha256= and 64 hexadecimal digits")
    return found[1]


def is_open_to_all(url: str) -> bool:
    """True for an address without encryption that is not on this machine."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")
