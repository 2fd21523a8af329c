"""`odkd-labels prune` sees the whole cache, says who uses what, and keeps what a running process uses."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from odkd.commands.labels import main
from odkd.common.temporary import temporary_for
from odkd.data.labels.store_files import find_stores


@pytest.fixture
def prune(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["prune", *map(str, arguments)])
        assert not ended.value.code, ended.value.code
        return re.sub(r"[0-9a-f]{16,}", "KEY", capsys.readouterr().out)

    return run


def make_old(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (time.time() - 10 * 86400,) * 2)


def test_prune_shows_the_whole_cache_and_deletes_what_is_chosen(
    odkd: Callable[..., Path], prune: Callable[..., str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    run = odkd(f"paths.cache={cache}")
    made = [cache / "frames" / ".x.0123.tmp", cache / "digests" / ".y.0123.tmp", cache / "synthetic" / "abc.building"]
    for path in made:
        path.mkdir() if path.suffix == ".building" else path.touch()
    own = temporary_for(cache / "digests" / "z")
    own.touch()
    make_old(cache)
    text = prune(cache)
    (store,) = find_stores(cache / "labels")[:1]
    for line in (
        rf"frames/KEY: kept \(frames of 00_city.mp4, .*used by {run.name}\)",
        rf"synthetic/KEY: kept \(synthetic videos; used by {run.name}\)",
        rf": kept \(labels of 00_city.mp4 by oracle; used by {run.name}\)",
        r"digests: kept \(\d+ notes; made anew when they are missing\)",
        r"videos: kept \(\d+ notes?; made",
        *(rf"would delete .*{path.name} \(.*left by a killed process\)" for path in made),
    ):
        assert re.search(line, text), line
    assert all(path.exists() for path in made)

    prune(cache, "--unused", "--yes")
    assert not any(path.exists() for path in made)
    assert own.exists()  # of a process that runs
    assert store.is_dir()

    before = (run / "metrics.jsonl").read_bytes()
    with FileLock(run / "run.lock"):
        text = prune(cache, "--all", "--yes")
    assert store.is_dir()
    assert text.count(f"kept, {run.name} is running") >= 3
    prune(cache, "--all", "--yes")
    assert not list((cache / "frames").iterdir())
    assert not find_stores(cache / "labels")
    assert odkd(f"paths.cache={cache}", "run.restart=true") == run  # everything is made anew
    assert (run / "metrics.jsonl").read_bytes() == before

    shutil.rmtree(run)
    make_old(cache)
    assert "no run that is there says that it uses it" in prune(cache)
    prune(cache, "--unused", "--yes")
    assert not [path for path in (cache / "frames").iterdir() if path.is_dir()]
    assert not list((cache / "uses").iterdir())
    assert not find_stores(cache / "labels")
