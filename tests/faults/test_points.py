"""Which points are of one kind, and what can happen at one."""

import pytest
from points import errors_of, faults_of, kills_of, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/runs/online-synthetic-mir-d043018a/metrics.jsonl", "/runs/R/metrics.jsonl"),
        ("/runs/label-oracle-0a1b2c3d/.run.json.04528725-6070-700577.901f2b14.tmp", "/runs/R/.run.json.N-N-N.N.tmp"),
        ("/cache/labels/oracle/00_city-d7cc0768e00cecde/labels/c/0/12", "/cache/labels/oracle/N_city-N/labels/c/N/N"),
        ("/mlflow.db", "/mlflow.db"),
    ],
)
def test_points_are_of_one_kind_whatever_their_run_key_and_number(name: str, kind: str) -> None:
    assert kind_of("write", name) == ("write", kind)


def test_a_write_can_be_torn_and_an_open_can_run_out_of_handles() -> None:
    assert kills_of("pwrite") == ["before", "after", "torn"]
    assert kills_of("rename") == ["before", "after"]
    assert "EMFILE" in errors_of("create")
    assert "EMFILE" not in errors_of("write")
    assert faults_of("fsync") == ["before", "ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE"]
