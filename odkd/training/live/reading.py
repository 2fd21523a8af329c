"""The thread that reads the source."""

from __future__ import annotations

import threading
from typing import Self

from odkd.data.video.arrivals import Arrival, LiveSource
from odkd.training.live.session import Session

END_SECONDS = 2.0  # for a source to end; a camera that hangs is left to the system


class Reading:
    """A context manager: frames come to the session inside, from a thread."""

    def __init__(self, source: LiveSource, session: Session) -> None:
        self._source, self._session = source, session
        self.error: Exception | None = None  # that the source has ended with
        self.fault: BaseException | None = None  # of the session, such as that of a pace
        self._thread = threading.Thread(target=self._read, daemon=True, name="odkd-source")

    def __enter__(self) -> Self:
        self._session.begin()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._session.lock:
            self._session.has_ended = True
            self._session.lock.notify_all()
        self._source.close()
        self._thread.join(END_SECONDS)

    def _read(self) -> None:
        try:
            for arrival in self._source.arrivals():
                if self._session.has_ended or not self._comes(arrival):
                    break
        except Exception as error:
            self.error = error
        finally:
            self._session.queue.end()

    def _comes(self, arrival: Arrival) -> bool:
        """Give the session a frame; return False if that fails."""
        try:
            self._session.came(arrival)
        except BaseException as error:
            self.fault = error
        return self.fault is None
