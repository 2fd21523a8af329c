"""Snapshots of the student along a stream: RUN/students/iteration-000100.safetensors, every so many iterations.

They are written behind the loop, before the checkpoint of their iteration. So whenever a run is killed, those before
its checkpoint are on the disk, and later ones are written again with the same bytes.
"""

from functools import partial

from odkd.common.files import write_atomic
from odkd.runs.run import OpenRun
from odkd.training.learn import Learner
from odkd.training.trainer import student_file, weights_file


class Snapshots:
    """Writes the weights that the run saves, after the iterations whose number is a multiple of `every`.

    Args:
        every: iterations; None = no snapshots.
    """

    def __init__(self, every: int | None) -> None:
        self._every = every

    def take(self, run: OpenRun, iteration: int, learner: Learner) -> None:
        """Write the student after an iteration, if that is due; it may change afterwards."""
        if self._every is not None and iteration and iteration % self._every == 0:
            path = student_file(run.folder, f"iteration/{iteration:06d}")
            run.behind.do(partial(write_atomic, path, weights_file(learner.saved.state_dict())))
