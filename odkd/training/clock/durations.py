"""How long each part of a run takes, in seconds, and how much the network carries."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Seconds and rates of all parts.

    Args:
        teacher_seconds: of the teacher, for a frame.
        train_seconds: of the trainer, for a frame that is learned from once.
        student_seconds: of the student, for a frame.
        up_seconds, down_seconds: from the end of a transmission to its arrival.
        up_bits_per_second, down_bits_per_second: of the network; None = no limit.

    >>> Durations(teacher_seconds=0.3).speed_up(num_frames=64, num_labelled=1, num_learned=1)
    64.0
    """

    teacher_seconds: float = 0.0
    train_seconds: float = 0.0
    student_seconds: float = 0.0
    up_seconds: float = 0.0
    up_bits_per_second: float | None = None
    down_seconds: float = 0.0
    down_bits_per_second: float | None = None

    def speed_up(self, *, num_frames: int, num_labelled: int, num_learned: int) -> float:
        """Return how much longer the teacher would need for all frames (Mullapudi et al. 2019).

            N * teacher / ((N - s) * student + s * teacher + u * training)

        Args:
            num_frames: N, of the stream.
            num_labelled: s, frames that the teacher has labelled; the student need not answer these.
            num_learned: u, frames learned from, each as often as it was; JITNet has one in an update.

        Returns:
            NaN where nothing takes time.
        """
        ours = (num_frames - num_labelled) * self.student_seconds + num_labelled * self.teacher_seconds
        ours += num_learned * self.train_seconds
        return num_frames * self.teacher_seconds / ours if ours > 0 else float("nan")


INSTANT = Durations()
JITNET = Durations(teacher_seconds=0.3, student_seconds=0.007, train_seconds=0.03)  # its authors' evaluation code


def transmission(num_bytes: int, bits_per_second: float | None) -> float:
    """Return the seconds that bytes occupy a link.

    >>> transmission(1000, 8000.0), transmission(1000, None)
    (1.0, 0.0)
    """
    return 0.0 if bits_per_second is None else 8 * num_bytes / bits_per_second
