"""The process whose forks are the trials: `python driver.py --help`; started with the shim preloaded."""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "helpers"), str(HERE)]
os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

from forks import begin, leave  # noqa: E402
from scenarios import run_all  # noqa: E402
from shim import Shim  # noqa: E402
from stages import STAGES  # noqa: E402
from trials import ENDINGS, ERRORS, KILLS, Attack, prepare_imports  # noqa: E402

WRITES = ("write", "pwrite", "writev")
OPENS = ("create", "open")


def main() -> None:
    """Attack the stages and write a JSON line for each stage and each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="*", default=[], help="parts of their names; none: all")
    parser.add_argument("--scenarios", nargs="*", help="these and no stages: parts of their names; none: all")
    parser.add_argument("--kills", type=int, help="random kills for each stage; none given: every point")
    parser.add_argument("--errors", type=int, help="random errors for each stage; none given: every point, every error")
    parser.add_argument("--endings", type=int, default=0, help="random signals and ends of memory for each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, required=True, help="file of JSON lines, appended to")
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
    trials = [*kills(attack, args.kills, generator), *errors(attack, args.errors, generator)]
    trials += spread(attack, args.endings, generator, [list(ENDINGS)] * len(attack.points))
    with args.to.open("a") as out:
        out.write(json.dumps({"stage": attack.stage.name, "points": attack.points}) + "\n")
        out.flush()
        for point, how in trials:
            trial = attack.trial(point, how)
            out.write(json.dumps(trial.record()) + "\n")
            out.flush()


def kills(attack: Attack, number: int | None, generator: random.Random) -> Iterator[tuple[int, str]]:
    """Yield points and ways to die there: so many, spread over the points, or before each one and torn at each write.

    After a point the disk is as before the next one, so "after" adds nothing to a complete list.
    """
    every = range(1, len(attack.points) + 1)
    writes = [operation in WRITES for operation, _ in attack.points]
    if number is None:
        yield from ((point, "before") for point in every)
        yield from ((point, "torn") for point in every if writes[point - 1])
        yield len(every), "after"
        return
    yield from spread(
        attack, number, generator, [list(KILLS) if is_write else ["before", "after"] for is_write in writes]
    )


def errors(attack: Attack, number: int | None, generator: random.Random) -> Iterator[tuple[int, str]]:
    """Yield points and errors there: so many, spread over the points, or all; only an open runs out of file handles."""
    possible = [[how for how in ERRORS if how != "EMFILE" or name in OPENS] for name, _ in attack.points]
    if number is None:
        yield from ((point + 1, how) for point, hows in enumerate(possible) for how in hows)
        return
    yield from spread(attack, number, generator, possible)


def spread(
    attack: Attack, number: int, generator: random.Random, possible: list[list[str]]
) -> Iterator[tuple[int, str]]:
    """Yield so many points, a random one of each of as many equal parts, and one of what is possible there."""
    for place in range(number):
        point = min(len(attack.points), 1 + int((place + generator.random()) * len(attack.points) / number))
        yield point, generator.choice(possible[point - 1])


if __name__ == "__main__":
    main()
