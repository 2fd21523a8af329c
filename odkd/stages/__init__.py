"""What a run does: one file a method. A stage is a class whose constructor takes the settings of conf/stage/NAME.yaml.

`run` asks for parts of the run by the names of its parameters; `config/parts.py` builds them. Stages import the steps
of `training/` and `evaluation/` and never each other.
"""

import inspect
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Traits:
    """What a stage is, whatever its settings.

    Args:
        learns: it trains a student; the run has a loss, an optimizer, a model card and so on.
        has_epochs: it trains over epochs on splits of images, so schedules count; otherwise it follows a stream.
        leaves_student: its last student is kept as a file with a model card.
        always: a finished run is opened again, because something may be missing since.
        compared: final score that a sweep compares, None = none; never one of the test split, because what is chosen
            by a score is not tested by it.
        sends_updates: its iterations select and send what they change of the weights, by `training/iteration.py: learn`
            or by `learner.updates`; without, the group `updates` is refused.
        is_shared: several processes may run the same command at once and share the work.
        is_live: it follows a stream that does not wait: nothing is decoded or labelled before, and a finished run goes
            on from its checkpoint when it is opened again.
    """

    learns: bool = True
    has_epochs: bool = False
    leaves_student: bool = True
    always: bool = False
    compared: str | None = "total/miou"
    sends_updates: bool = False
    is_shared: bool = False
    is_live: bool = False


class Stage(Protocol):
    """What the rest of odkd asks of a stage.

    `run` returns the summary: final scores by name (`common/metric_names.py`). A stage may have, in addition, `traits`
    (default: those of `Traits()`), `learn_from` (label source of the training; default "teacher"), `uses_teacher`
    (default True), and a method `check`, which raises ValueError if its settings do not fit the stream. It asks by name
    for `stream`, `window`, `seed`, `official_splits` and `learner`, and is called before the run has a folder.
    """

    name: str

    @property
    def traits(self) -> Traits: ...
    def run(self, **parts: Any) -> dict[str, float]: ...


def traits_of(stage: Stage) -> Traits:
    """Return the traits of a stage."""
    return getattr(stage, "traits", Traits())


def learns_from(stage: Stage) -> str:
    """Return the label source that a stage trains on: teacher or groundtruth."""
    return str(getattr(stage, "learn_from", "teacher"))


def uses_teacher(stage: Stage) -> bool:
    """Return whether a stage has a teacher at all, to learn from or to compare with."""
    return bool(getattr(stage, "uses_teacher", True))


def parts_asked_for(stage: Stage) -> tuple[str, ...]:
    """Return the names of the parts that `stage.run` takes."""
    return tuple(inspect.signature(stage.run).parameters)
