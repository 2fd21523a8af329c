"""Time of MIR's selection over that of its virtual step and the evaluation of its candidates alone."""

from pathlib import Path
from time import perf_counter

import torch

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import make_dataset
from bench.job import PRECISIONS, SMALL, make_parts, overrides
from bench.network import BareNetwork, Example
from odkd.training.scorer import StudentScorer

CASE = Case(
    question="What does MIR add to an iteration beyond its necessary network calls?",
    method="`select` of a run's replay memory, against the virtual pass over 6 stream frames and two evaluations "
    "(forward and cross-entropy) of 18 candidates by a separate student on tensors in memory, in turn.",
    repeats=5,
    seconds=400,
    is_long=True,
)
PAIRS = 5
STREAM, CANDIDATES, REPLAYED = 6, 18, 9
CASES = {(360, 480): 25, (720, 1280): 25}  # size -> stride of the video


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return one result per size and precision."""
    cases, pairs = ({SMALL: 25}, 2) if quick else (CASES, PAIRS)
    return [
        measure_case(folder, size, stride, name, settings, pairs)
        for size, stride in cases.items()
        for name, settings in PRECISIONS.items()
    ]


def measure_case(
    folder: Path, size: tuple[int, int], stride: int, name: str, settings: list[str], pairs: int
) -> Result:
    """Measure `Replay.select` and the bare calls in turn."""
    num_positions = STREAM + CANDIDATES
    root = make_dataset(folder, height=size[0], width=size[1], num_frames=num_positions * stride, stride=stride)
    learn = STREAM + REPLAYED
    job = overrides(folder, root, size=size, stride=stride, learn=learn, test=STREAM)
    parts = make_parts([*job, *settings, "replay=mir", f"replay.candidates={CANDIDATES}"])
    parts.replay.observe(range(CANDIDATES), lambda _: torch.empty(0))  # type: ignore[arg-type]  # MIR does not call the scorer here
    parts.replay.observe(range(CANDIDATES, num_positions), lambda _: torch.empty(0))  # type: ignore[arg-type]
    batches = [parts.bank.get([position]) for position in range(num_positions)]
    examples = [(batch.images_BCHW, batch.labels["teacher"].long()) for batch in batches]
    network = BareNetwork.of(parts.learner)
    scorer = StudentScorer(parts.learner, parts.evaluator, batch_size=1)
    parts.learner.learn(parts.bank, [[0]])  # creates the optimizer's moments, which the virtual step copies
    network.learn(examples[:1])
    selects, bare_seconds = [], []
    for _ in range(pairs):
        bare = network.learn(examples[CANDIDATES:]) + sum(
            losses_alone(network, examples[:CANDIDATES]) for _ in range(2)
        )
        started = perf_counter()
        assert len(parts.replay.select(learn, scorer)) == learn
        selects.append(perf_counter() - started)
        bare_seconds.append(bare)
    parts.close()
    baseline = ("bare network", bare_seconds)
    return measured(f"select, {name}", selects, "s", size=size_name(size), baseline=baseline, headline=True)


def losses_alone(network: BareNetwork, examples: list[Example]) -> float:
    """Return the seconds of forward pass and loss for all examples."""
    started = perf_counter()
    network.student.eval()
    with torch.inference_mode():
        for images_BCHW, labels_BHW in examples:
            with torch.autocast(network.device.type, torch.bfloat16, enabled=network.precision == "bfloat16"):
                logits_BKHW = network.student(images_BCHW)
            network.loss(logits_BKHW, labels_BHW)
    return perf_counter() - started
