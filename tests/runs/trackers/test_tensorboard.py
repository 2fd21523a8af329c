"""TensorBoard has the numbers of MLflow at the same steps, whenever a pass is killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extras import need
from fabricated_run import FabricatedRun, outputs_folder, sync_run
from tracked_numbers import Numbers, of_mlflow, of_tensorboard

from odkd.runs.trackers import tensorboard
from odkd.runs.trackers.tensorboard import TensorBoard


@pytest.fixture
def run(tmp_path: Path) -> FabricatedRun:
    need("tensorboard")
    return FabricatedRun(tmp_path / "outputs")


def passed(run: FabricatedRun, *, is_last: bool = False, tracker: TensorBoard | None = None) -> int:
    return (tracker or TensorBoard(outputs=run.outputs)).sync(run.folder, is_last=is_last, sent={})


def stored(run: FabricatedRun) -> Numbers:
    return of_tensorboard(run.outputs / "tensorboard" / run.folder.name)


def assert_equal_but_for_rounding(found: Numbers, expected: Numbers) -> None:
    """TensorBoard's scalars are float32."""
    assert found.keys() == expected.keys()
    assert {key: np.float32(value) for key, value in expected.items()} == found


def test_tensorboard_has_the_numbers_of_mlflow_at_the_same_steps(tmp_path: Path, empty_database: Path) -> None:
    need("tensorboard")
    run = FabricatedRun(outputs_folder(tmp_path, empty_database))
    run.publish(5)
    run.line("system.jsonl", sample=0, time=1790000000.5, metrics={"system/cpu": 50.0})
    assert passed(run) == 5
    assert passed(run) == 0
    run.publish(7)
    run.end()
    assert passed(run, is_last=True) == 7
    sync_run(run)
    assert_equal_but_for_rounding(stored(run), of_mlflow(run.outputs / "mlflow.db"))


def test_a_pass_that_is_killed_after_its_writing_leaves_nothing_twice(
    run: FabricatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.publish(3)
    passed(run)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    run.publish(4)
    with monkeypatch.context() as patch:
        patch.setattr(tensorboard, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            passed(run)
    (file,) = (run.outputs / "tensorboard" / run.folder.name).glob("events.*")
    content = file.read_bytes()
    with file.open("ab") as events:
        events.write(b"cut in the mid")
    passed(run)
    assert file.read_bytes() == content, "the same bytes, so that an open page sees nothing twice"
    run.end()
    passed(run, is_last=True)
    assert {step for key, step in stored(run) if key.startswith("test/")} == set(range(7))


def test_passes_in_any_number_write_the_bytes_of_a_single_one(tmp_path: Path) -> None:
    need("tensorboard")
    files = []
    for name, portions in (("one", [6]), ("many", [1, 2, 3])):
        run = FabricatedRun(tmp_path / name)
        for portion in portions:
            run.publish(portion)
            passed(run)
        run.end()
        passed(run, is_last=True)
        files += (run.outputs / "tensorboard" / run.folder.name).glob("events.*")
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("how", ["started over", "note deleted", "events deleted", "events cut"])
def test_a_run_whose_events_do_not_fit_is_written_anew(run: FabricatedRun, how: str) -> None:
    run.publish(4)
    passed(run)
    (file,) = (run.outputs / "tensorboard" / run.folder.name).glob("events.*")
    if how == "started over":
        run.write(created="2026-11-22T10:00:00+00:00")
        for path in run.folder.glob("*.jsonl"):
            path.unlink()
        run.num_iterations = 0
        run.publish(2)
    elif how == "note deleted":
        (file.parent / "odkd.json").unlink()
    elif how == "events deleted":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    passed(run)
    assert {step for _, step in stored(run)} == set(range(run.num_iterations))


def test_events_may_lie_in_the_folder_of_the_run_which_loses_nothing(run: FabricatedRun) -> None:
    run.publish(2)
    before = {path.name for path in run.folder.iterdir()}
    tracker = TensorBoard(folder=str(run.outputs / "runs"), outputs=run.outputs)
    passed(run, tracker=tracker)
    tracker.forget(run.folder)
    assert before <= {path.name for path in run.folder.iterdir()}
    assert not list(run.folder.glob("events.*"))


def test_a_run_that_goes_on_after_its_end_is_complete_again_only_with_its_new_lines(run: FabricatedRun) -> None:
    tracker = TensorBoard(outputs=run.outputs)
    run.publish(2)
    run.write(status="failed")
    passed(run, is_last=True)
    assert tracker.is_complete(run.folder)
    run.publish(1)
    assert not tracker.is_complete(run.folder)
    run.end()
    passed(run, is_last=True)
    assert tracker.is_complete(run.folder)
    assert stored(run)["summary/total/miou", 0] == 0.5


def test_stills_have_their_steps_and_can_be_seen_by_a_browser(run: FabricatedRun) -> None:
    accumulator = need("tensorboard.backend.event_processing.event_accumulator")
    run.publish(1)
    run.end()
    passed(run, is_last=True)
    reader = accumulator.EventAccumulator(str(run.outputs / "tensorboard" / run.folder.name))
    reader.Reload()
    assert [event.step for event in reader.Images("overlay")] == [3, 40]
    assert reader.Images("overlay")[0].encoded_image_string.startswith(b"\x89PNG")
