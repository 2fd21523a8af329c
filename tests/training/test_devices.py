"""A device gives what the CPU gives, repeats its bits, and its states continue anywhere.

By default the device is the CPU, and the first is trivial; `make gpu` runs this file on the GPU (ODKD_TEST_DEVICE).
"""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from compute import DEVICE
from omegaconf import OmegaConf
from tiny_learner import CPU, NUM_CLASSES, PASSES, distance, learn, make_bank, make_learner, make_student, weights_of

from odkd.common.device import set_up
from odkd.common.isolation import isolated
from odkd.config.compose import compose_config
from odkd.config.construct import construct
from odkd.config.known import CONF
from odkd.data.tensor_bank import Bank
from odkd.evaluation.evaluate import Evaluator
from odkd.training.learn import Learner
from odkd.training.scorer import StudentScorer

NAMES = sorted(path.stem for path in (CONF / "regularizer").glob("*.yaml"))
SOON = {"warmup_passes": 1, "update_every_passes": 1}


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Set the process up for the device, as a run does."""
    with isolated():
        set_up(DEVICE, threads=None, deterministic=True)
        yield


def learner_on(device: torch.device, regularizer: str, optimizer: str = "adam") -> Learner:
    """Return a learner whose student begins with the same weights on each device."""
    student = make_student().to(device)
    node = compose_config([f"regularizer={regularizer}"]).regularizer
    for key in SOON.keys() & node.keys():
        OmegaConf.update(node, key, SOON[key])
    offered = {"num_classes": NUM_CLASSES, "classes": list("abcd"), "device": device, "seed": 0, "student": student}
    return make_learner(student, construct(node, (), offered, [], "regularizer"), optimizer, device=device)


def losses_of(learner: Learner, bank: Bank, passes: Any = PASSES) -> list[dict[str, float]]:
    with bank:
        return learn(learner, bank, passes)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_the_cpu(name: str) -> None:
    expected = losses_of(learner_on(CPU, name), make_bank())
    found = losses_of(learner_on(DEVICE, name), make_bank(DEVICE))
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_the_cpu_continues_with_the_bits_of_the_device(name: str) -> None:
    undisturbed, bank = learner_on(DEVICE, name), make_bank(DEVICE)
    losses_of(undisturbed, bank)
    first = learner_on(DEVICE, name)
    losses_of(first, make_bank(DEVICE), PASSES[:3])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    resumed = learner_on(DEVICE, name)
    resumed.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    losses_of(resumed, make_bank(DEVICE), PASSES[3:])
    assert distance(weights_of(resumed.student), weights_of(undisturbed.student)) == 0


def test_frames_and_labels_are_those_of_the_cpu() -> None:
    with make_bank() as ours, make_bank(DEVICE) as theirs:
        theirs.prefetch([1, 2])
        one, other = ours.get([0, 2, 1]), theirs.get([0, 2, 1])
    assert other.images_BCHW.device.type == DEVICE.type
    torch.testing.assert_close(other.images_BCHW.cpu(), one.images_BCHW, rtol=1e-6, atol=1e-7)
    assert torch.equal(other.labels["teacher"].cpu(), one.labels["teacher"])


def test_scores_and_losses_of_frames_are_those_of_the_cpu() -> None:
    with make_bank() as ours, make_bank(DEVICE) as theirs:
        one, other = Evaluator(ours, 2, "float32", CPU), Evaluator(theirs, 2, "float32", DEVICE)
        expected, found = one.scores(make_student(), range(6)), other.scores(make_student().to(DEVICE), range(6))
        assert torch.equal(found.confusions["teacher"], expected.confusions["teacher"])
        assert torch.equal(found.steady["teacher"], expected.steady["teacher"])
        assert (found.predictions_NHW == expected.predictions_NHW).all()
        pair = [
            evaluator.losses(make_student().to(evaluator.device), range(6), "teacher") for evaluator in (one, other)
        ]
    torch.testing.assert_close(pair[1], pair[0], rtol=1e-5, atol=1e-6)


def test_a_virtual_pass_draws_nothing_from_the_runs_random_numbers() -> None:
    learner = learner_on(DEVICE, "none")
    with make_bank(DEVICE) as bank:
        scorer = StudentScorer(learner, Evaluator(bank, 2, "float32", DEVICE), batch_size=2)
        torch.manual_seed(0)
        expected = torch.rand(4, device=DEVICE)
        torch.manual_seed(0)
        before = weights_of(learner.student)
        scorer.after_learning([0, 1, 3], learning_rate=0.1)
        assert torch.equal(torch.rand(4, device=DEVICE), expected)
        assert distance(weights_of(learner.student), before) == 0
