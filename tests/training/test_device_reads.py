"""How often an iteration waits for its device: once for the losses, and once for each kind of score."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from device_tensors import device_tensors

from odkd.training.iteration import Journal


@pytest.mark.slow
def test_an_iteration_waits_for_its_device_only_to_read_losses_and_scores(
    odkd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = (odkd("evaluation.shift=4", "seed=5") / "metrics.jsonl").read_text()
    iterations: list[list[str]] = []
    write = Journal.write
    with device_tensors(monkeypatch) as reads:

        def count(*arguments: object, **named: object) -> None:
            iterations.append(list(reads))
            reads.clear()
            write(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(Journal, "write", count)
        run = odkd("evaluation.shift=4", "seed=5", "run.restart=true")
    assert (run / "metrics.jsonl").read_text() == plain
    # Counts of the test window and its predictions; counts of the shifted windows and segments; losses.
    full = Counter({"tolist in mean_losses": 1, "cpu in read_once": 2, "cpu in scores_of": 1})
    assert any(Counter(found) == full for found in iterations)
    assert all(Counter(found) <= full for found in iterations), iterations
