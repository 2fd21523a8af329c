"""The process whose forks are the trials: `python driver.py --help`; started with the shim preloaded."""

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers"), str(HERE)]
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

from forks import begin, leave  # noqa: E402
from points import ERRORS, Kind, errors_of, faults_of, kills_of, kind_of  # noqa: E402
from scenarios import run_all  # noqa: E402
from shim import UNFINISHED, Shim  # noqa: E402
from stages import STAGES  # noqa: E402
from trials import ENDINGS, Attack, prepare_imports  # noqa: E402

ROUNDS = 2 + len(ERRORS)
OF_UNFINISHED, OF_REPEATED = 100, 37


def main() -> None:
    """Attack the stages and write a JSON line for each stage and each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="*", default=[], help="parts of their names; none: all")
    parser.add_argument("--scenarios", nargs="*", help="these and no stages: parts of their names; none: all")
    parser.add_argument(
        "--rounds", type=int, nargs="*", default=[], choices=range(ROUNDS), help="every point once, each"
    )
    parser.add_argument("--kinds", action="store_true", help="every kill and error that no point of its kind has had")
    parser.add_argument("--kills", type=int, default=0, help="random kills for each stage")
    parser.add_argument("--errors", type=int, default=0, help="random errors for each stage")
    parser.add_argument("--endings", type=int, default=0, help="random signals and ends of memory for each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every N-th trial, from I"
    )
    parser.add_argument(
        "--to", type=Path, required=True, help="file of JSON lines, appended to; the trials in it are not made again"
    )
    parser.add_argument("--work", type=Path, help="where the folders of trials go")
    args = parser.parse_args()
    shim = Shim(Path(os.environ["LD_PRELOAD"]))
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=args.work))
    if args.scenarios is not None:
        prepare_imports(work / "imports")
        with args.to.open("a") as out:
            out.writelines(json.dumps(record) + "\n" for record in run_all(work, shim, args.scenarios))
        shutil.rmtree(work)
        return
    for number, stage in enumerate(STAGES):
        if args.stages and not any(part in stage.name for part in args.stages):
            continue
        attack = Attack(stage, shim, work / str(number))
        assert threading.active_count() == 1, "a fork of a process with threads may hang"
        child = os.fork()
        if child == 0:
            try:
                os.chdir(work / str(number) / "template")
                code = attack.end(begin(stage, partial(all_trials, attack, args)))
            except BaseException:
                traceback.print_exc()
                code = 1
            leave(code)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"{stage.name}: the trials ended with {os.waitstatus_to_exitcode(status)}"
        shutil.rmtree(work / str(number))
    shutil.rmtree(work)


def all_trials(attack: Attack, args: argparse.Namespace) -> None:
    """Make the trials of a stage, and write a line for each."""
    generator = random.Random(f"{args.seed} {attack.stage.name}")
    attack.measure()
    first, step = args.part
    repeated = set(kinds_had(args.to.parent, attack.stage.name)) if attack.stage.repeats else set()
    trials = list(rounds(attack, args.rounds, repeated))
    for number, possible in (
        (args.kills, kills_of),
        (args.errors, errors_of),
        (args.endings, lambda _: list(ENDINGS)),
    ):
        trials += spread(attack, number, generator, possible)
    trials = trials[first::step]
    if args.kinds:
        trials += kinds(attack, kinds_had(args.to.parent), first, step)
    before = [record for record in records(args.to) if record["stage"] == attack.stage.name and "how" in record]
    made = {(record["point"], record["how"]) for record in before}
    with args.to.open("a") as out:
        out.write("\n" if made else "")  # a kill may have cut the last line
        out.write(json.dumps({"stage": attack.stage.name, "points": attack.points}) + "\n")
        out.flush()
        for point, how in trials:
            if (point, how) in made:
                continue
            trial = attack.trial(point, how)
            out.write(json.dumps(trial.record()) + "\n")
            out.flush()


def records(path: Path) -> list[dict[str, Any]]:
    """Return the stages and trials that a file of JSON lines holds; a line that a kill has cut is none."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def rounds(attack: Attack, numbers: Sequence[int], repeated: set[Kind]) -> Iterator[tuple[int, str]]:
    """Yield every point once for each round, with another kill or error in each; all `ROUNDS` rounds give all of them.

    A database that is being created has another name, and the next command deletes it unread: one point in so many is
    enough there. So is one in so many of the points whose kinds are `repeated` from other stages.
    """
    for number in numbers:
        for point, (operation, name) in enumerate(attack.points, 1):
            possible = faults_of(operation)
            is_unfinished = Path(name).name.startswith(UNFINISHED)
            one_in = OF_UNFINISHED if is_unfinished else OF_REPEATED if kind_of(operation, name) in repeated else 1
            if point % one_in == 0 and number < len(possible):
                yield point, possible[(point + number) % len(possible)]


def kinds(attack: Attack, had: dict[Kind, set[str]], first: int, step: int) -> Iterator[tuple[int, str]]:
    """Yield a point of every `step`-th kind for each kill and error that this kind has not had yet, in any stage."""
    points: dict[Kind, list[int]] = {}
    for point, (operation, name) in enumerate(attack.points, 1):
        points.setdefault(kind_of(operation, name), []).append(point)
    for kind, alike in points.items():
        if zlib.crc32(" ".join(kind).encode()) % step == first:
            for number, how in enumerate(faults_of(kind[0])):
                if how not in had.get(kind, ()):
                    yield alike[number % len(alike)], how


def kinds_had(folder: Path, left_out: str = "") -> dict[Kind, set[str]]:
    """Return the kinds of the points that were hit, but for a stage, and what happened there; by all JSON lines."""
    found: dict[Kind, set[str]] = {}
    for record in (record for path in folder.glob("*.jsonl") for record in records(path)):
        if record.get("hit") and record["stage"] != left_out:
            found.setdefault(kind_of(*record["hit"].split(" ", 1)), set()).add(record["how"])
    return found


def spread(
    attack: Attack, number: int, generator: random.Random, possible: Callable[[str], list[str]]
) -> Iterator[tuple[int, str]]:
    """Yield so many points, a random one of each of as many equal parts, and one of what is possible there."""
    for place in range(number):
        point = min(len(attack.points), 1 + int((place + generator.random()) * len(attack.points) / number))
        yield point, generator.choice(possible(attack.points[point - 1][0]))


if __name__ == "__main__":
    main()
