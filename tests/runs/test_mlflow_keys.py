"""Names that meet after MLflow's renaming: every class, domain and param has a key of its own."""

import itertools
import posixpath

from fabricated_run import FabricatedRun, metric_rows, outputs_folder, sync_run
from mlflow.utils.validation import _validate_metric_name

from odkd.runs.mlflow_keys import KEY_CHARACTERS, keys_in_mlflow
from odkd.runs.mlflow_sending import finite

ODD = ["a b", "a+b", "a&b", "a_b", "a*b", "a//b", "a/b", "a/./b", "a/x/../b", "b/", "b", "..", ".", "../..", "../miou"]
ODD += [
    "",
    "/",
    "stop (sign)",
    "stop [sign]",
    "10 %",
    "10 \N{PER MILLE SIGN}",
    "x" * 300,
    "x" * 301,
    "x" * 249 + "/y",
    "\n",
]


def test_no_two_names_share_a_key_and_mlflow_accepts_each() -> None:
    for scope in ("test/iou", "summary/total/iou_groundtruth"):
        names = [f"{scope}/{name}" for name in ODD] + ["test/miou", "test"]
        keys = keys_in_mlflow(names)
        assert len(set(keys.values())) == len(set(names))
        for key in keys.values():
            _validate_metric_name(key)
            assert len(key) <= KEY_CHARACTERS
            assert posixpath.normpath(key) == key
        assert list(keys_in_mlflow(keys.values()).values()) == list(keys.values())  # sent again: the same


def test_a_name_that_mlflow_accepts_keeps_its_key_and_lone_names_have_the_key_they_had() -> None:
    for first, second in itertools.combinations(["car+truck", "car&truck", "car_truck", "car*truck"], 2):
        keys = keys_in_mlflow([first, second])
        assert len(set(keys.values())) == 2
        assert "car_truck" not in (first, second) or keys["car_truck"] == "car_truck"
        assert keys_in_mlflow([first]) == {first: "car_truck"}


def test_a_metric_keeps_its_key_where_the_other_of_its_name_is_undefined() -> None:
    both = finite({"test/iou/a+b": 0.5, "test/iou/a&b": 0.25})
    one = finite({"test/iou/a+b": 0.5, "test/iou/a&b": None})
    assert one.items() < both.items()


def test_every_class_has_its_metric_in_mlflow(tmp_path, empty_database) -> None:
    run = FabricatedRun(outputs_folder(tmp_path, empty_database))
    values = {f"test/iou/{name}": float(number) for number, name in enumerate(ODD)}
    run.write(params=run.record["params"] | {"dataset.domains.a*": "day", "dataset.domains.a?": "night"})
    run.line("metrics.jsonl", iteration=0, position=0, metrics=values)
    sync_run(run)
    assert sorted(row[4] for row in metric_rows(run.outputs / "mlflow.db")) == sorted(values.values())
    assert all(row[1].startswith("test/iou") for row in metric_rows(run.outputs / "mlflow.db"))
