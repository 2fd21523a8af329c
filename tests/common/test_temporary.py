"""Temporary files of killed processes are told from those of running ones."""

import os
import subprocess
import sys
from pathlib import Path

from odkd.common.temporary import is_left_behind, left_behind, remove_left_behind, temporary_for

WRITE = """
import os, sys
from pathlib import Path
from odkd.common.temporary import temporary_for
path = temporary_for(Path(sys.argv[1]))
path.write_text("half")
print(path, flush=True)
sys.stdin.read()
"""


def test_a_temporary_file_is_left_behind_once_its_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    command = [sys.executable, "-c", WRITE, str(tmp_path / "below" / "frames.raw")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path, own = Path(process.stdout.readline().strip()), temporary_for(tmp_path / "own")
        own.write_text("half")
        assert not list(left_behind(tmp_path))
        process.kill()
    assert list(left_behind(tmp_path)) == [path]
    assert not list(left_behind(tmp_path, recursive=False))
    remove_left_behind(tmp_path)
    assert not path.exists()
    assert own.exists()


def test_a_file_that_names_no_process_of_this_machine_counts_from_an_hour_on(tmp_path: Path) -> None:
    old, elsewhere = tmp_path / ".x.json.0123456789abcdef.tmp", tmp_path / ".x.00000000-1-1.00000000.tmp"
    for path in (old, elsewhere):
        path.touch()
        assert not is_left_behind(path)
        assert is_left_behind(path, unchanged_seconds=0)
        os.utime(path, (1, 1))
        assert is_left_behind(path)


def test_a_name_of_any_length_gets_a_temporary_file(tmp_path: Path) -> None:
    temporary_for(tmp_path / ("x" * 255)).touch()
