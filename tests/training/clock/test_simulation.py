"""Schedules worked by hand: every event is where arithmetic puts it."""

import json

import pytest

from odkd.training.clock.agenda import COMPLETION, FRAME, TICK, Agenda
from odkd.training.clock.durations import JITNET, Durations
from odkd.training.clock.rates import Rates, shown_frames
from odkd.training.clock.simulation import Simulation
from odkd.training.clock.stations import Station
from odkd.training.clock.world import Training


class Diary:
    """A world that writes down what happens; each training learns from `num_learned` frames."""

    def __init__(self, num_learned: int = 4, num_bytes: int = 1000, trains_on_labels: bool = False) -> None:
        self.num_learned, self.num_bytes, self.trains_on_labels = num_learned, num_bytes, trains_on_labels
        self.events: list[tuple[str, int, float]] = []
        self.num_made = 0

    def note(self, what: str, which: int, seconds: float) -> None:
        self.events.append((what, which, round(seconds, 9)))

    def labelled(self, position: int, seconds: float) -> bool:
        self.note("label", position, seconds)
        return self.trains_on_labels

    def train(self, number: int, seconds: float) -> Training:
        self.num_made += 1
        self.note("train", number, seconds)
        return Training(self.num_learned, 1, self.num_made, False)

    def trained(self, training: Training, seconds: float) -> None:
        self.note("trained", training.version, seconds)

    def update_bytes(self, version: int, after: int) -> int:
        return self.num_bytes * (version - after)  # what was not sent has to be made up for

    def deployed(self, version: int, seconds: float) -> None:
        self.note("deployed", version, seconds)

    def dropped(self, version: int) -> None:
        self.note("dropped", version, -1)


def play(simulation: Simulation, world: Diary, num_frames: int, step: int, until: float = 100.0) -> Diary:
    """One frame a second, all sent; a training at each step."""
    for frame in range(num_frames):
        simulation.run_until(frame, TICK, world)
        if frame % step == 0:
            simulation.ask_training(world)
        simulation.run_until(frame, FRAME, world)
        simulation.send(frame)
    simulation.run_until(until, TICK, world)
    return world


def of(world: Diary, what: str) -> list[tuple[int, float]]:
    return [(which, seconds) for name, which, seconds in world.events if name == what]


def test_frames_that_come_while_the_teacher_is_busy_are_dropped() -> None:
    simulation = Simulation(Durations(teacher_seconds=2.5), frame_bytes=10)
    world = play(simulation, Diary(), num_frames=8, step=100)
    # 0 is labelled from 0 to 2.5, 3 from 3 to 5.5, 6 from 6 to 8.5; the five frames between them are dropped.
    assert of(world, "label") == [(0, 2.5), (3, 5.5), (6, 8.5)]
    assert simulation.teacher.num_dropped == 5
    assert simulation.teacher.busy_seconds(simulation.now) == 7.5


@pytest.mark.parametrize(
    ("policy", "labels"),
    [
        ("drop_newest", [(0, 2.5), (1, 5.0), (3, 7.5), (5, 10.0)]),  # 1 waits, 2 finds it waiting and is dropped ...
        ("drop_oldest", [(0, 2.5), (2, 5.0), (4, 7.5), (5, 10.0)]),  # 2 takes the place of 1 ...
    ],
)
def test_one_frame_waits_and_the_policy_says_which(policy: str, labels: list[tuple[int, float]]) -> None:
    simulation = Simulation(Durations(teacher_seconds=2.5), frame_bytes=10, most_waiting=1, when_full=policy)  # type: ignore[arg-type]
    world = play(simulation, Diary(), num_frames=6, step=100)
    assert of(world, "label") == labels
    assert simulation.teacher.num_dropped == 2


def test_all_frames_wait_where_any_number_may() -> None:
    simulation = Simulation(Durations(teacher_seconds=2.5), frame_bytes=10, most_waiting=None)
    world = play(simulation, Diary(), num_frames=4, step=100)
    assert of(world, "label") == [(0, 2.5), (1, 5.0), (2, 7.5), (3, 10.0)]


def test_frames_and_weights_take_the_time_of_the_network() -> None:
    durations = Durations(
        teacher_seconds=0.25,
        train_seconds=0.5,
        up_seconds=0.125,
        up_bits_per_second=800.0,  # 50 bytes a frame: half a second
        down_seconds=0.0625,
        down_bits_per_second=8000.0,  # 1000 bytes of weights: a second
    )
    simulation = Simulation(durations, frame_bytes=50)
    world = play(simulation, Diary(num_learned=3), num_frames=3, step=2)
    assert of(world, "label") == [(0, 0.875), (1, 1.875), (2, 2.875)]  # 0.5 + 0.125 + 0.25
    assert of(world, "train") == [(0, 0.0), (1, 2.0)]
    assert of(world, "trained") == [(1, 1.5), (2, 3.5)]  # 3 frames of 0.5 s
    assert of(world, "deployed") == [(1, 2.5625), (2, 4.5625)]  # 1 s on the link, then 0.0625
    assert (simulation.bytes_up, simulation.bytes_down) == (150, 2000)


def test_one_training_waits_and_more_are_left_out() -> None:
    simulation = Simulation(Durations(train_seconds=0.625), frame_bytes=1)  # 4 frames: 2.5 s
    world = play(simulation, Diary(), num_frames=5, step=1)
    # That of second 1 waits until 2.5; those of 2 find it waiting. That of 3 waits until 5.0; that of 4 is left out.
    assert of(world, "train") == [(0, 0.0), (1, 2.5), (3, 5.0)]
    assert of(world, "trained") == [(1, 2.5), (2, 5.0), (3, 7.5)]
    assert simulation.trainer.num_dropped == 2


def test_newer_weights_overtake_those_that_wait_for_the_link() -> None:
    simulation = Simulation(Durations(down_bits_per_second=8 * 1000 / 2.5), frame_bytes=1)  # 2.5 s an update
    world = play(simulation, Diary(), num_frames=5, step=1)
    # The update from 1 to 3 has to make up for 2, which was not sent: 2000 bytes.
    assert of(world, "deployed") == [(1, 2.5), (3, 7.5), (5, 12.5)]
    assert [which for which, _ in of(world, "dropped")] == [2, 4]


def test_at_the_same_moment_labels_come_before_a_training_and_weights_before_a_frame() -> None:
    simulation = Simulation(Durations(), frame_bytes=1)
    world = play(simulation, Diary(), num_frames=3, step=1, until=2.0)
    one_second = [("label", 0, 0.0), ("train", 1, 1.0), ("trained", 2, 1.0), ("deployed", 2, 1.0), ("label", 1, 1.0)]
    assert world.events[:3] == [("train", 0, 0.0), ("trained", 1, 0.0), ("deployed", 1, 0.0)]
    assert world.events[3:8] == one_second


def test_a_label_can_begin_a_training() -> None:
    simulation = Simulation(Durations(teacher_seconds=0.5, train_seconds=0.25), frame_bytes=1)
    world = play(simulation, Diary(trains_on_labels=True), num_frames=2, step=100)
    assert of(world, "train") == [(0, 0.0), (1, 1.0), (2, 2.0)]  # the second one waits for the first: 0.5, then 1.5


def test_what_is_to_come_is_told_without_its_coming() -> None:
    simulation, world = Simulation(Durations(train_seconds=0.5), frame_bytes=1), Diary()
    simulation.ask_training(world)
    simulation.ask_training(world)  # waits, so that it does not count
    before = json.dumps(simulation.state_dict())
    assert simulation.to_come(1.75, world) == []
    assert simulation.to_come(2.0, world) == [(2.0, 1)]
    assert json.dumps(simulation.state_dict()) == before


@pytest.mark.parametrize("cut", range(8))
def test_a_simulation_goes_on_from_its_state_as_if_nothing_had_happened(cut: int) -> None:
    durations = Durations(teacher_seconds=1.7, train_seconds=0.3, up_seconds=0.4, down_bits_per_second=6000.0)

    def played(restarts_at: int | None) -> list[tuple[str, int, float]]:
        simulation, world = Simulation(durations, frame_bytes=9, most_waiting=2), Diary()
        for frame in range(8):
            if frame == restarts_at:
                state = json.loads(json.dumps(simulation.state_dict()))
                simulation = Simulation(durations, frame_bytes=9, most_waiting=2)
                simulation.load_state_dict(state)
            simulation.run_until(frame, TICK, world)
            simulation.ask_training(world)
            simulation.run_until(frame, FRAME, world)
            simulation.send(frame)
        simulation.run_until(50.0, TICK, world)
        return world.events

    assert played(cut) == played(None)


def test_events_of_one_moment_keep_the_order_of_their_entry() -> None:
    agenda = Agenda()
    for name in ("b", "a", "c"):
        agenda.add(1.0, name)
    found = [agenda.pop_before(1.0, TICK) for _ in range(4)]
    assert [event.name if event else None for event in found] == ["b", "a", "c", None]
    agenda.add(1.0, "later", rank=FRAME)
    assert agenda.pop_before(1.0, FRAME) is None
    agenda.add(1.0, "first", rank=COMPLETION)
    event = agenda.pop_before(1.0, FRAME)
    assert event is not None
    assert event.name == "first"


def test_utilisation_is_the_busy_share_of_an_iteration() -> None:
    simulation, rates = Simulation(Durations(teacher_seconds=3.0), frame_bytes=1), Rates()
    simulation.send(0)
    simulation.run_until(4.0, TICK, Diary())
    assert rates.metrics(simulation, 0)["clock/teacher_utilisation"] == 0.75
    simulation.send(1)
    simulation.run_until(6.0, TICK, Diary())  # it is still busy
    assert rates.metrics(simulation, 0)["clock/teacher_utilisation"] == 1.0


def test_a_student_that_is_busy_lets_its_last_answer_stand() -> None:
    assert shown_frames([0.0, 1.0, 2.0, 3.0, 4.0], 1, 1.0) == [0, 1, 2, 3, 4]  # ready at the moment of the next frame
    assert shown_frames([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0, 2.5) == [0, 0, 0, 3, 3, 3]


def test_an_idle_station_begins_at_once_even_where_nothing_may_wait() -> None:
    station = Station(0, "drop_oldest")
    assert station.offer((1,)) is None
    assert station.begin(0.0) == (1,)
    assert station.offer((2,)) == (2,)
    assert station.num_dropped == 1


def test_the_speed_up_of_jitnet_has_its_published_range() -> None:
    frames = 30_000 // 64 * 64
    worst = JITNET.speed_up(num_frames=frames, num_labelled=frames // 8, num_learned=frames)
    best = JITNET.speed_up(num_frames=frames, num_labelled=frames // 64, num_learned=frames // 64)
    assert (round(worst, 1), round(best, 1)) == (4.1, 24.9)
