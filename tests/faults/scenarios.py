"""Two at once, clocks, rights: each scenario runs commands in forks, and returns what broke a promise."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from forks import call, leave, run_in_fork, settle, wait
from left_behind import differences, state_of
from shim import AFTER, Shim
from stages import LABEL, ONLINE, SENT, TRACKED, write_student

NOBODY = 65534
SHARED = "paths.labels=../shared/labels"
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": "1", "boot": "b", "namespace": "n", "token": "t"}


class Place:
    """A folder in which commands are given, each in a fork."""

    def __init__(self, folder: Path, shim: Shim) -> None:
        self.folder, self.shim = folder, shim
        self.log = folder.with_suffix(".txt")
        folder.mkdir(parents=True)
        write_student(folder)

    def give(self, *words: str, first: Callable[[], object] = lambda: None) -> int | None:
        """Give a command, after `first` in the same process; return its exit code."""
        return run_in_fork(self.folder, self.log, lambda: (first(), call(words))[1])

    def well(self, *words: str, first: Callable[[], object] = lambda: None) -> list[str]:
        """Give a command that must end well; return what is wrong."""
        code = self.give(*words, first=first)
        return [] if code == 0 else [f"{words[0]} ended with {code}: {self.log.read_text().strip()[-300:]}"]

    def start(self, *words: str) -> int:
        """Start a command and return its process."""
        child = os.fork()
        if child == 0:
            settle(self.folder, self.log)
            leave(call(words))
        return child

    def state(self, *, has_mlflow: bool = False) -> dict[str, str]:
        return state_of(self.folder / "outputs", has_mlflow=has_mlflow)


def verify_and_prune_while_labelling(work: Path, shim: Shim) -> list[str]:
    """Read and tidy all stores again and again while they are being made."""
    alone, place = Place(work / "alone", shim), Place(work / "a", shim)
    faults = alone.well(*LABEL)
    labelling = place.start(*LABEL)
    tidying = Place(work / "log", shim)
    num_passes = 0
    while os.waitid(os.P_PID, labelling, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if (place.folder / "outputs" / "cache" / "labels").is_dir():
            for command in (["verify"], ["prune", "--yes"]):
                code = run_in_fork(
                    place.folder, tidying.log, lambda c=command: call(["odkd-labels", *c, "outputs/cache/labels"])
                )
                if code not in (0, 1) or "Traceback" in tidying.log.read_text():
                    faults.append(f"{command}: {code}: {tidying.log.read_text()[-300:]}")
            num_passes += 1
        else:
            time.sleep(0.01)
    wait(labelling)
    if not num_passes:
        faults.append("labelling was over before the first pass")
    return faults + place.well(*LABEL) + differences(alone.state(), place.state())


def two_users(work: Path, shim: Shim) -> list[str]:
    """Read another user's labels without the right to write; label into the folder once it is shared."""
    owner, guest = Place(work / "owner", shim), Place(work / "guest", shim)
    shared = work / "shared"
    for folder in (work, *work.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    for path in (guest.folder, *guest.folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)

    def become() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    faults = owner.well(*LABEL, SHARED) + owner.well(*ONLINE, SHARED)
    before = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    faults += guest.well(*ONLINE, SHARED, first=become)
    faults += guest.well("odkd-labels", "verify", "../shared/labels", first=become)
    ours = {name: digest for name, digest in owner.state().items() if name.startswith("runs/online")}
    faults += differences(ours, {name: d for name, d in guest.state().items() if name.startswith("runs/online")})
    if before != {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}:
        faults.append("the guest has changed the owner's labels")
    for shard in shared.glob("labels/*/*/labels/c/*/0/0"):
        shard.unlink()
    code = guest.give(*LABEL, SHARED, "run.name=again", first=become)
    said = guest.log.read_text()
    if code != 2 or "Traceback" in said or "ermission denied" not in said:
        faults.append(f"labelling without the right to write ended with {code}: {said[-300:]}")
    for path in (shared, *shared.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    faults += guest.well(*LABEL, SHARED, "run.name=again", first=become)
    return faults + owner.well("odkd-labels", "verify", "../shared/labels")


def stale_claims(work: Path, shim: Shim) -> list[str]:
    """Find claims of a dead process of another machine, last touched long ago, or in the future of a wrong clock."""
    faults = []
    for number, seconds in enumerate((-3600.0, 86400.0)):
        whole, place = Place(work / f"whole{number}", shim), Place(work / f"claimed{number}", shim)
        faults += whole.well(*LABEL) + place.well(*LABEL)
        for shard in place.folder.glob("outputs/cache/labels/*/*/labels/c/*/0/0"):
            shard.unlink()
        shutil.rmtree(place.folder / "outputs" / "runs")
        for store in place.folder.glob("outputs/cache/labels/*/*"):
            claim = store / "claims" / "shard-000000.json"
            claim.parent.mkdir(exist_ok=True)
            claim.write_text(json.dumps(ELSEWHERE))
            os.utime(claim, (time.time() + seconds,) * 2)
        faults += place.well(*LABEL) + differences(whole.state(), place.state())
    return faults


def a_clock_that_goes_backwards(work: Path, shim: Shim) -> list[str]:
    """Run, kill and resume with a time of day that goes back at each look; MLflow gets it too."""
    alone, place = Place(work / "alone", shim), Place(work / "a", shim)
    faults = [line for there in (alone, place) for words in SENT for line in there.well(*words)]
    command = (*ONLINE, *TRACKED)
    faults += alone.well(*command)

    def turn() -> None:
        shim.turn_clock()
        assert time.time() > time.time(), "the clock does not go backwards"
        shim.plan(place.folder / "outputs", 150, AFTER)

    if (code := place.give(*command, first=turn)) != -signal.SIGKILL:
        faults.append(f"the kill was missed: {code}")
    faults += place.well(*command, first=shim.turn_clock)
    return faults + differences(alone.state(has_mlflow=True), place.state(has_mlflow=True))


SCENARIOS = [verify_and_prune_while_labelling, two_users, stale_claims, a_clock_that_goes_backwards]


def run_all(work: Path, shim: Shim, wanted: list[str]) -> list[dict[str, object]]:
    """Run the scenarios (those whose name contains a wanted word, if any are given); return a record of each."""
    records: list[dict[str, object]] = []
    for scenario in SCENARIOS:
        name = scenario.__name__.replace("_", " ")
        if wanted and not any(word in name for word in wanted):
            continue
        if scenario is two_users and os.geteuid() != 0:
            records.append({"scenario": name, "skipped": "needs the rights of root"})
            continue
        folder = work / scenario.__name__
        folder.mkdir(parents=True)
        records.append({"scenario": name, "faults": scenario(folder, shim)})
        shutil.rmtree(folder)
    return records
