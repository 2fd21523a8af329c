"""Live: the student answers every frame of a stream that does not wait, while teacher and trainer do what they can.

Three processes: this one reads the source and answers; the teacher labels some of the frames; the trainer learns from
these labels, and its weights are swapped in between two frames. None of them waits for another (training/live).
"""

import logging
from contextlib import closing
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from odkd.common.dotted import NOT_IN_LIVE, NOT_IN_STAGE
from odkd.common.metric_names import metric_name
from odkd.common.settings import NaturalInt, PositiveFloat, PositiveInt
from odkd.data.recording.recorder import Recorder
from odkd.data.video.open_source import open_source
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.runs.page.server import WebPage
from odkd.runs.page.view import NoPage, Page
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.batches import Order
from odkd.training.learn import Learner
from odkd.training.live.devices import PARTS
from odkd.training.live.ending import Ending
from odkd.training.live.opened import open_session
from odkd.training.live.plan import LivePlan
from odkd.training.live.reading import Reading
from odkd.training.live.showing import Showing
from odkd.training.live.summary import live_summary
from odkd.training.pace import Pace

logger = logging.getLogger(__name__)
TURN_SECONDS = 0.2  # between two looks whether the session is to end, while no frame comes


@dataclass(frozen=True, kw_only=True)
class Live:
    """Runs a session along a live stream; the same command goes on with the last weights.

    Args:
        name: of the stage, in the run's folder and in MLflow.
        source: a file, /dev/videoN, an address, or a folder of images that grows; None = the videos of the dataset.
        repeats: how often the dataset, or a file, is played.
        seconds: after which the session ends; None = with the source.
        patience: seconds for which a source that is lost is tried again.
        most_waiting: frames that wait for the teacher while it is busy.
        when_full: which frame is dropped if one more is to wait; block = the source waits.
        record: keep frames and labels in the run's folder, `recording/`, a dataset that can be replayed.
        page: serve a page in the browser while the session runs.
        port: of the page; the next free one is taken. 0 = any.
        host: address or name at which the page listens; the default can be reached from this machine alone.
        devices: of student, teacher and trainer; auto = that of the run, or one GPU each.
        epochs: passes over the selected frames in a training.
        batch_size: frames in an update.
        order: of the frames in a pass, see `training/batches.py`.
    """

    name: str
    source: str | None = None
    repeats: PositiveInt = 1
    seconds: PositiveFloat | None = None
    patience: PositiveFloat = 60.0
    most_waiting: NaturalInt = 1
    when_full: Literal["drop_newest", "drop_oldest", "block"] = "drop_oldest"
    record: bool = False
    page: bool = True
    port: NaturalInt = 8050
    host: str = "127.0.0.1"
    devices: list[str] = field(default_factory=lambda: ["auto"] * len(PARTS))
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 1
    order: Order = "stream"
    traits: ClassVar[Traits] = Traits(sends_updates=True, always=True, is_live=True)
    where_and_how: ClassVar[tuple[str, ...]] = (*NOT_IN_STAGE, *NOT_IN_LIVE)  # not in a run's key

    def __post_init__(self) -> None:
        """Check that each part has a device.

        Raises:
            ValueError: there are more or fewer.
        """
        if len(self.devices) != len(PARTS):
            raise ValueError(f"stage.devices={self.devices}; expected three: of {', '.join(PARTS)}")

    def run(
        self,
        *,
        stream: Stream,
        window: Window,
        learner: Learner,
        pace: Pace,
        live: LivePlan,
        run: OpenRun,
    ) -> dict[str, float]:
        """Follow the source until it ends, or the session is told to, and return the summary of all sessions so far."""
        sees_dataset = self.source is None
        source = open_source(
            self.source, stream, size=live.size, stride=live.stride, repeats=self.repeats, patience=self.patience
        )
        recorder = (
            None if not self.record else Recorder(run.folder / "recording", classes=live.classes, palette=live.palette)
        )
        opened = open_session(
            *(live, self),
            frame_size=source.frame_size,
            sees_dataset=sees_dataset,
            learner=learner,
            pace=pace,
            window=window,
            recorder=recorder,
            run=run,
        )
        with opened as (session, crew), closing(self._page()) as page, Ending() as ending:
            showing = Showing(page, live, session)
            with Reading(source, session) as reading:
                end = float("inf") if self.seconds is None else session.seconds() + self.seconds
                while not (ending.is_asked or session.queue.is_over or session.seconds() > end):
                    if (taken := session.queue.take(TURN_SECONDS)) is not None:
                        session.answer(taken)
                    showing.show({**crew.state, "source": source.state})
                    crew.check()
                is_over = session.queue.is_over
            if reading.fault is not None:
                raise reading.fault
            if reading.error is not None and not session.num_frames:
                raise reading.error
            logger.info("the session ends: %s", self._why(ending, reading, is_over))
        records, scoring = run.records(), session.scoring
        run.save_confusions({"teacher": scoring.total_KK})
        counts = {**session.counts(), metric_name("live", "restarts"): crew.num_restarts}
        return live_summary(scoring, live.classes, records, session.measured.durations, counts)

    def _page(self) -> Page:
        """Return the page of the session; print its address, if it has one."""
        page: Page = WebPage(host=self.host, port=self.port) if self.page else NoPage()
        if page.address is not None:
            logger.info("look at it: %s", page.address)
        return page

    def _why(self, ending: Ending, reading: Reading, is_over: bool) -> str:
        if ending.is_asked:
            return "it was told to"
        if reading.error is not None:
            return f"the source has failed ({reading.error})"
        return "the source has ended" if is_over else f"stage.seconds={self.seconds:g} are over"
