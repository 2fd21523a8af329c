"""A session from its first process to its last: what it is made of, what it goes on from, and how it ends."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch

from odkd.common.files import write_json
from odkd.data.recording.recorder import Recorder
from odkd.data.window import Window
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.lines import Record
from odkd.runs.run import OpenRun
from odkd.training.batches import Order as OrderOfFrames
from odkd.training.learn import Learner
from odkd.training.live.answering import Answering
from odkd.training.live.buffers import Buffers
from odkd.training.live.crew import Crew
from odkd.training.live.devices import PARTS
from odkd.training.live.measured import Measured
from odkd.training.live.plan import LivePlan
from odkd.training.live.scoring import Scoring
from odkd.training.live.scribe import Scribe
from odkd.training.live.session import Session
from odkd.training.live.showing import tell
from odkd.training.live.slots import SlotPlan, Slots
from odkd.training.live.tally import Tally
from odkd.training.live.traffic import NUM_SLOTS, Traffic
from odkd.training.live.trainer_process import CHECKPOINT
from odkd.training.pace import Pace

logger = logging.getLogger(__name__)
DURATIONS = "durations.json"  # in the folder of a run, as `timing=simulated` reads it
DRAIN_SECONDS = 5.0  # for labels that are on their way when the stream has ended


class Settings(Protocol):
    """Settings of the stage."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def order(self) -> OrderOfFrames: ...
    @property
    def most_waiting(self) -> int: ...
    @property
    def when_full(self) -> Literal["drop_newest", "drop_oldest", "block"]: ...
    @property
    def devices(self) -> Sequence[str]: ...


@contextlib.contextmanager
def open_session(
    plan: LivePlan,
    settings: Settings,
    *,
    frame_size: tuple[int, int],
    sees_dataset: bool,
    learner: Learner,
    pace: Pace,
    window: Window,
    recorder: Recorder | None,
    run: OpenRun,
) -> Iterator[tuple[Session, Crew]]:
    """Start teacher and trainer for what happens inside; then let them end, and write all that is left.

    The learner gets what the trainer has learned. A session goes on from the run's checkpoint.

    Args:
        frame_size: (height, width) of the source's frames.
        sees_dataset: frames are those of the dataset's stream.
        recorder: keeps frames and labels, if they are to be kept.

    Raises:
        ValueError: a mistake in the settings of a child, or there is not enough shared memory.
        OSError: the disk refuses what is left at the end.
    """
    state = run.resume()
    with contextlib.ExitStack() as stack:
        if recorder is not None:
            stack.callback(recorder.close)
        slots = Slots.create(SlotPlan("", NUM_SLOTS, plan.teacher_size or frame_size, plan.size))
        stack.callback(slots.remove)
        buffers = Buffers.create(learner.evaluated.state_dict())
        stack.callback(buffers.remove)

        def wrote(line: tuple[Record, Record]) -> None:
            tell(line[0])
            scribe.note(line)

        scoring = _scoring(plan, window, state)
        session = _session(plan, settings, learner, pace, scoring, slots, buffers, recorder, wrote)
        scribe = Scribe(run, session.state_dict)
        if state is not None:
            session.load_state_dict(state)
            logger.info("goes on after %.0f s, with the weights that it had then", state["seconds"])
        crew = _crew(plan, settings, session, slots, buffers, run, sees_dataset=sees_dataset)
        stack.callback(crew.stop)
        session.answering.warm_up(plan.size)
        crew.start()
        scribe.start()
        stack.callback(scribe.end)
        yield session, crew
        _drain(session)
        crew.stop()
        scribe.close()
        _learn_back(learner, session, run)
        write_json(run.folder / DURATIONS, session.measured.record())


def _scoring(plan: LivePlan, window: Window, state: Mapping[str, Any] | None) -> Scoring:
    """Return the scoring of a session, which begins behind the frames of the sessions before it."""
    begin = {} if state is None else {"first": state["iteration"], "begin": state["sampled"]}
    return Scoring(window, plan.classes, border_pixels=plan.border_pixels, **begin)


def _session(
    plan: LivePlan,
    settings: Settings,
    learner: Learner,
    pace: Pace,
    scoring: Scoring,
    slots: Slots,
    buffers: Buffers,
    recorder: Recorder | None,
    wrote: Callable[[tuple[Record, Record]], None],
) -> Session:
    """Return a session with its traffic."""
    is_compiled = getattr(learner.student, "_compiled_call_impl", None) is not None
    answering = Answering(learner.evaluated, plan.evaluator_of, is_compiled=is_compiled)
    session = Session(
        answering=answering,
        scoring=scoring,
        pace=pace,
        buffers=buffers,
        measured=Measured(),
        tally=Tally(),
        recorder=recorder,
        blocks=settings.when_full == "block",
        wrote=wrote,
    )
    session.traffic = Traffic(
        session,
        seconds=session.seconds,
        most_waiting=settings.most_waiting,
        when_full="drop_newest" if settings.when_full == "block" else settings.when_full,
        slots=slots,
        buffers=buffers,
        weights=answering.weights,
    )
    return session


def _crew(
    plan: LivePlan,
    settings: Settings,
    session: Session,
    slots: Slots,
    buffers: Buffers,
    run: OpenRun,
    *,
    sees_dataset: bool,
) -> Crew:
    """Return the children of a session, which listen to it, and set the threads of this process."""
    crew = Crew(
        plan,
        dict(zip(PARTS, settings.devices, strict=True)),
        passes=settings,
        slots=slots.plan,
        buffers=buffers.plan,
        folder=run.folder,
        sees_dataset=sees_dataset,
        heard={"teacher": session.heard_teacher, "trainer": session.heard_trainer},
        died={"teacher": session.teacher_died, "trainer": session.trainer_died},
    )
    session.traffic.teacher, session.traffic.trainer = crew.workers
    torch.set_num_threads(crew.threads)
    return crew


def _drain(session: Session) -> None:
    """Wait for labels that are on their way, so that the last windows are complete."""
    end = time.monotonic() + DRAIN_SECONDS
    with session.lock:
        while not session.traffic.is_labelled and time.monotonic() < end:
            session.lock.wait(0.1)


def _learn_back(learner: Learner, session: Session, run: OpenRun) -> None:
    """Give the learner what the trainer has learned; if the trainer could not save it, the weights that answer."""
    state = None
    if session.traffic.is_saved:
        with contextlib.suppress(ValueError, OSError):
            state = Checkpoint(run.folder / CHECKPOINT, overhead=1.0).load()
    if state is None:
        logger.warning("the trainer has not saved what it learned last; the weights that answer are kept")
        learner.adopt(session.answering.weights())
        return
    learner.load_state_dict(state["learner"])
