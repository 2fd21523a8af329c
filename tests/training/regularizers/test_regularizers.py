"""Regularizers: cases worked by hand, bit-identical resuming, bounded memory, refused arguments."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tiny_learner import CPU, NUM_CLASSES, PASSES, Pass, learn, make_bank, make_learner, make_student, weights_of
from torch import Tensor, nn

from odkd.config.compose import compose_config
from odkd.config.construct import construct
from odkd.config.known import CONF
from odkd.training.losses import CrossEntropy
from odkd.training.regularizers import Regularizer, Update
from odkd.training.regularizers.ace import Ace
from odkd.training.regularizers.derpp import DerPP
from odkd.training.regularizers.ewc import Ewc
from odkd.training.regularizers.lwf import Lwf
from odkd.training.regularizers.mas import Mas
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.regularizers.rwalk import RWalk
from odkd.training.regularizers.schedule import Schedule

Odkd = Callable[..., Path]
NAMES = sorted(path.stem for path in (CONF / "regularizer").glob("*.yaml"))
SOON = {"warmup_passes": 1, "update_every_passes": 1}


def from_yaml(name: str, student: nn.Module, **settings: Any) -> Regularizer:
    """Return a regularizer as a run constructs it; settings that the method does not have are left out."""
    node = compose_config([f"regularizer={name}"]).regularizer
    for key, value in settings.items():
        if key in node:
            OmegaConf.update(node, key, value)
    offered = {"num_classes": NUM_CLASSES, "classes": list("abcd"), "device": CPU, "seed": 0, "student": student}
    made: Regularizer = construct(node, (), offered, [], "regularizer")
    return made


def update_on(
    images_BCHW: Tensor, labels_BHW: Tensor, *, is_replayed: list[bool] | None = None, ends_pass: bool = True
) -> Update:
    """Return an update that is a full pass, unless `ends_pass` is False."""

    def frames() -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((images_BCHW[i : i + 1], labels_BHW[i : i + 1]) for i in range(len(images_BCHW)))

    positions = tuple(range(len(images_BCHW)))
    return Update(
        positions=positions,
        images_BCHW=images_BCHW,
        labels_BHW=labels_BHW,
        is_replayed_B=torch.tensor(is_replayed or [False] * len(positions)),
        ends_pass=ends_pass,
        kept=positions,
        forward=lambda network, images: network(images),
        frames_of_pass=frames,
    )


def one_weight(value: float) -> nn.Conv2d:
    """Return a student of one weight: its logits are value * x."""
    student = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(student.weight, value)
    return student


class WithZero(nn.Module):
    """Student of two classes with logits (w x, 0)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.conv = one_weight(value)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits = self.conv(images_BCHW)
        return torch.cat([logits, torch.zeros_like(logits)], dim=1)


# --- every regularizer of conf/regularizer


def learner_of(name: str, seed: int, **settings: Any) -> Any:
    student = make_student(nn.BatchNorm2d(5), nn.Dropout2d(0.3))
    torch.manual_seed(seed)
    for parameter in student.parameters():
        nn.init.normal_(parameter.data, std=0.3)
    return make_learner(student, from_yaml(name, student, **settings), "adam")


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_bit_identical(name: str) -> None:
    # Consolidation after passes 2, 4, 6; saved after pass 3, between two of them.
    settings = {"warmup_passes": 2, "update_every_passes": 2, "delta_t": 4, "strength": 3.0, "max_distance": 9}

    def learn_on(learner: Any, numbers: range) -> list[dict[str, float]]:
        losses = []
        with make_bank() as bank:
            for number in numbers:
                torch.manual_seed(number)  # for dropout, as the stage does
                losses += learn(learner, bank, [PASSES[number]])
        return losses

    uninterrupted = learner_of(name, 0, **settings)
    expected = learn_on(uninterrupted, range(6))
    first = learner_of(name, 0, **settings)
    learn_on(first, range(3))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = learner_of(name, 1, **settings)  # other weights, until the state is loaded
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert learn_on(second, range(3, 6)) == expected[3:]
    assert all(map(torch.equal, weights_of(uninterrupted.student), weights_of(second.student)))
    ours, theirs = second.regularizer.state_dict(), uninterrupted.regularizer.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    if name not in ("none", "ace"):
        assert expected[-1]["regularizer"] > 0


def num_numbers(state: Any) -> int:
    """Count the numbers in all tensors of a state; lists hold class ids, or positions that each have a tensor."""
    if isinstance(state, Tensor):
        return state.numel()
    return sum(map(num_numbers, state.values())) if isinstance(state, dict) else 0


@pytest.mark.parametrize("name", NAMES)
def test_the_state_does_not_grow_with_the_stream(name: str) -> None:
    learner = learner_of(name, 0)
    sizes = []
    with make_bank() as bank:
        for number in range(50):
            kept = set(range(10 + number, 15 + number))
            batches = [[12 + number, 10 + number], [11 + number]]
            learn(learner, bank, [Pass(batches, {11 + number, 12 + number}, kept)])
            sizes.append(num_numbers(learner.regularizer.state_dict()))
    assert sizes[5] == sizes[49]
    if name == "derpp":
        assert sizes[49] == 3 * NUM_CLASSES  # positions 59, 60 and 61 are kept; 8x8 pixels are one square


@pytest.mark.slow  # the default tests run each of them in the grid of replay memories and regularizers
@pytest.mark.parametrize("name", NAMES)
def test_the_main_job_runs_with_every_regularizer(name: str, odkd: Odkd) -> None:
    settings = compose_config([f"regularizer={name}"]).regularizer
    soon = ["regularizer.warmup_passes=1"] if "warmup_passes" in settings else []
    together = ["stage.batch_size=4", "stage.order=stream"] if name == "temporal" else []
    run = odkd(f"regularizer={name}", "evaluation.groundtruth=false", "replay.capacity=12", *soon, *together)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert ("learn/loss_regularizer" in lines[-1]) == (name not in ("none", "ace"))


# --- schedule


def test_nothing_is_penalized_during_the_warm_up() -> None:
    for name in ("lwf", "mas", "ewc", "rwalk"):
        learner = learner_of(name, 0, warmup_passes=3)
        with make_bank() as bank:
            losses = learn(learner, bank, PASSES)
        assert ["regularizer" in one for one in losses] == [False] * 3 + [True] * 3, name


@pytest.mark.parametrize("name", NAMES)
def test_every_regularizer_tells_after_how_many_passes_it_sets_in(name: str) -> None:
    expected = 4 if name in ("lwf", "mas", "ewc", "rwalk") else 0
    made = from_yaml(name, make_student(), warmup_passes=4, update_every_passes=2)
    assert made.sets_in_after_passes == expected


class UserDefined:
    """A regularizer without the optional `sets_in_after_passes`."""

    adjust_logits = NoRegularizer.adjust_logits
    penalty = NoRegularizer.penalty
    after_update = NoRegularizer.after_update
    state_dict = NoRegularizer.state_dict
    load_state_dict = NoRegularizer.load_state_dict


@pytest.mark.slow
def test_a_user_defined_regularizer_needs_no_number_of_passes(odkd: Odkd, caplog: pytest.LogCaptureFixture) -> None:
    odkd("regularizer._target_=test_regularizers.UserDefined", "allow_targets=[test_regularizers]")
    assert "sets in after" not in caplog.text


def test_without_a_warm_up_the_first_consolidation_follows_one_interval() -> None:
    schedule = Schedule(warmup_passes=0, update_every_passes=2)
    assert [schedule.is_due_after(n) for n in (1, 2, 3, 4)] == [False, True, False, True]


# --- ACE


def test_ace_stream_frames_do_not_push_down_absent_classes() -> None:
    ace, loss = Ace(NUM_CLASSES, CPU), CrossEntropy()
    images, logits = torch.zeros(1, 3, 1, 2), torch.zeros(1, NUM_CLASSES, 1, 2)
    ace.adjust_logits(logits, update_on(images, torch.tensor([[[0, 1]]])))  # sees classes 0 and 1
    logits = torch.zeros(2, NUM_CLASSES, 1, 2, requires_grad=True)
    update = update_on(images.repeat(2, 1, 1, 1), torch.tensor([[[2, 255]], [[0, 1]]]), is_replayed=[False, True])
    loss(ace.adjust_logits(logits, update), update.labels_BHW).backward()
    assert logits.grad is not None
    # 3 labelled pixels. Stream: class 2 is present, 3 was never seen, 0 and 1 are masked. Replay: all classes.
    stream, unlabelled = logits.grad[0, :, 0, 0], logits.grad[0, :, 0, 1]
    torch.testing.assert_close(stream, torch.tensor([0, 0, -0.5, 0.5]) / 3)
    assert stream[:2].tolist() == [0, 0]
    assert unlabelled.tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(logits.grad[1, :, 0, 0], torch.tensor([-0.75, 0.25, 0.25, 0.25]) / 3)
    assert ace.state_dict() == {"seen": [0, 1, 2]}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ace_stays_finite_in_half_precision_and_without_labels(dtype: torch.dtype) -> None:
    ace = Ace(NUM_CLASSES, CPU)
    images, logits = torch.zeros(1, 3, 2, 2), torch.zeros(1, NUM_CLASSES, 2, 2, dtype=dtype, requires_grad=True)
    for label in (3, 1, 255):
        update = update_on(images, torch.full((1, 2, 2), label))
        value = CrossEntropy()(ace.adjust_logits(logits, update), update.labels_BHW)
        value.backward()
        assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# --- LwF


def test_lwf_sum_is_the_mean_times_the_number_of_pixels() -> None:
    images, labels = torch.rand(2, 3, 5, 7), torch.randint(0, NUM_CLASSES, (2, 5, 7))
    values = {}
    for reduction in ("mean", "sum"):
        student = make_student()
        lwf = Lwf(student, NUM_CLASSES, CPU, alpha=0.5, temperature=2, reduction=reduction, **SOON)  # type: ignore[arg-type]
        lwf.after_update(student, update_on(images, labels))
        logits = student(images) + torch.linspace(0, 1, NUM_CLASSES)[:, None, None]
        values[reduction] = lwf.penalty(student, logits, update_on(images, labels))
    assert values["mean"] is not None
    assert values["sum"] is not None
    assert values["sum"].item() == pytest.approx(values["mean"].item() * 5 * 7)


def test_lwf_by_hand_over_the_classes_seen_by_the_copy() -> None:
    student = nn.Conv2d(1, 3, 1, bias=False)
    nn.init.zeros_(student.weight)
    images = torch.ones(1, 1, 1, 1)
    lwf = Lwf(student, 3, CPU, alpha=0.5, temperature=2, reduction="mean", **SOON)
    lwf.after_update(student, update_on(images, torch.zeros(1, 1, 1, dtype=torch.int64), ends_pass=False))
    lwf.after_update(student, update_on(images, torch.full((1, 1, 1), 2)))
    # The copy has 1/2, 1/2 over classes 0 and 2; the student 1/4, 3/4, whatever its logit of class 1.
    logits = torch.tensor([0.0, 50.0, 2 * torch.tensor(3.0).log()]).reshape(1, 3, 1, 1).requires_grad_()
    penalty = lwf.penalty(student, logits, update_on(images, torch.full((1, 1, 1), 1)))
    assert penalty is not None
    expected = 0.5 * (0.5 * torch.tensor(0.5 / 0.25).log() + 0.5 * torch.tensor(0.5 / 0.75).log())
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    # alpha / T * (p - p_copy); class 1 has no gradient.
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([-0.0625, 0, 0.0625]))  # type: ignore[union-attr]


def test_lwf_has_no_dropout_in_its_copy() -> None:
    student = make_student(nn.Dropout2d(0.9)).train()
    lwf = Lwf(student, NUM_CLASSES, CPU, alpha=1, temperature=2, reduction="mean", **SOON)
    update = update_on(torch.rand(1, 3, 8, 8), torch.arange(NUM_CLASSES).repeat(16).reshape(1, 8, 8))
    lwf.after_update(student, update)
    penalty = lwf.penalty(student, student.eval()(update.images_BCHW), update)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0, abs=1e-7)


# --- MAS and EWC


def test_mas_by_hand_and_the_first_importance() -> None:
    images, labels = torch.tensor([3.0, 1.0]).reshape(2, 1, 1, 1), torch.zeros(2, 1, 1, dtype=torch.int64)
    for first_importance, factor in (("whole", 1.0), ("decayed", 0.9)):
        student = one_weight(-2.0)
        mas = Mas(student, strength=3, decay=0.1, first_importance=first_importance, **SOON)  # type: ignore[arg-type]
        mas.after_update(student, update_on(images, labels))
        omega = factor * (36 + 4) / 2  # |d (w x)^2 / dw| = |2 w x^2|
        assert mas.state_dict()["omega"].item() == pytest.approx(omega)
        nn.init.constant_(student.weight, -1.5)
        penalty = mas.penalty(student, images, update_on(images, labels))
        assert penalty is not None
        assert penalty.item() == pytest.approx(3 * omega * 0.25)
        mas.after_update(student, update_on(images, labels))
        assert mas.state_dict()["omega"].item() == pytest.approx(0.1 * omega + 0.9 * (27 + 3) / 2)


def test_mas_strength_does_not_depend_on_the_resolution() -> None:
    omegas = []
    for size in (4, 8):
        student = nn.Conv2d(3, NUM_CLASSES, 1)
        nn.init.constant_(student.weight, 0.1)
        nn.init.constant_(student.bias, 0.1)  # type: ignore[arg-type]
        mas = Mas(student, strength=1, decay=0.1, first_importance="whole", **SOON)
        labels = torch.zeros(1, size, size, dtype=torch.int64)
        mas.after_update(student, update_on(torch.full((1, 3, size, size), 0.5), labels))
        omegas.append(mas.state_dict()["omega"])
    torch.testing.assert_close(omegas[0], omegas[1])


def test_ewc_by_hand_without_counting_a_frame_without_labels() -> None:
    student = WithZero(0.0)
    ewc = Ewc(student, strength=2, decay=0.5, **SOON)
    images = torch.tensor([1.0, 3.0, 7.0]).reshape(3, 1, 1, 1)
    labels = torch.tensor([0, 1, 255]).reshape(3, 1, 1)
    ewc.after_update(student, update_on(images, labels))
    fisher = (0.25 + 2.25) / 2  # d CE / dw = (p - 1) x = -1/2 and p x = 3/2
    assert ewc.state_dict()["fisher"].item() == pytest.approx(fisher)
    nn.init.constant_(student.conv.weight, 0.1)
    penalty = ewc.penalty(student, student(images), update_on(images, labels))
    assert penalty is not None
    assert penalty.item() == pytest.approx(2 / 2 * fisher * 0.01)
    nn.init.constant_(student.conv.weight, 0.0)
    ewc.after_update(student, update_on(images[2:], labels[2:]))  # a pass without labels only decays it
    assert ewc.state_dict()["fisher"].item() == pytest.approx(0.5 * fisher)


@pytest.mark.parametrize("name", ["mas", "ewc"])
def test_computing_importances_does_not_change_the_student(name: str) -> None:
    student = make_student(nn.BatchNorm2d(5), nn.Dropout2d(0.3)).train()
    regularizer = from_yaml(name, student, warmup_passes=1)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    update = update_on(torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64))
    generator = torch.get_rng_state()
    regularizer.after_update(student, update)
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert all(module.training for module in student.modules())
    assert all(parameter.grad is None for parameter in student.parameters())


# --- RWalk


def rwalk(student: nn.Module, **settings: Any) -> RWalk:
    defaults = {"strength": 1, "decay": 0.1, "delta_t": 10, "epsilon": 1e-7, "is_active": True}
    return RWalk(student, **(defaults | SOON | settings))


def test_rwalk_as_released_is_bit_identical_to_no_regularizer() -> None:
    found = {}
    for name in ("none", "released", "paper"):
        student = make_student()
        made = NoRegularizer() if name == "none" else rwalk(student, is_active=name == "paper")
        with make_bank() as bank:
            found[name] = learn(make_learner(student, made), bank, PASSES), weights_of(student)
    assert found["released"][0] == found["none"][0]
    assert all(map(torch.equal, found["released"][1], found["none"][1]))
    assert not any(map(torch.equal, found["paper"][1][:1], found["none"][1][:1]))


def test_rwalk_by_hand() -> None:
    student = one_weight(1.0)
    walk = rwalk(student, decay=0.5, delta_t=2, epsilon=0.25, warmup_passes=1)
    images, labels = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    for weight, gradient, ends_pass in ((0.0, 2.0, False), (-1.0, 1.0, False), (-3.0, -1.0, True)):
        update = update_on(images, labels, ends_pass=ends_pass)
        walk.penalty(student, images, update)
        nn.init.constant_(student.weight, weight)
        student.weight.grad = torch.full_like(student.weight, gradient)
        walk.after_update(student, update)
    # F: 2, 1.5, 1.25. Stretch 1 lowers the loss by 2 * 1 + 1 * 1 over a change of 2; stretch 2 raises it: 0.
    state = walk.state_dict()
    assert state["fisher"].item() == pytest.approx(1.25)
    assert state["score"].item() == pytest.approx(3 / (0.5 * 1.5 * 2**2 + 0.25))
    assert state["importance"].item() == pytest.approx(2)  # the only weight has the maximum of F and of s
    nn.init.constant_(student.weight, -2.5)
    penalty = walk.penalty(student, images, update_on(images, labels))
    assert penalty is not None
    assert penalty.item() == pytest.approx(2 * 0.5**2)


def test_rwalk_skips_a_step_whose_gradient_overflowed() -> None:
    student = one_weight(1.0)
    walk = rwalk(student, warmup_passes=5)
    images, labels = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    for gradient in (2.0, float("inf"), float("nan")):
        walk.penalty(student, images, update_on(images, labels))
        student.weight.grad = torch.full_like(student.weight, gradient)
        walk.after_update(student, update_on(images, labels, ends_pass=False))
    assert walk.state_dict()["fisher"].item() == pytest.approx(0.9 * 4)
    assert walk.state_dict()["loss_drop"].item() == 0


# --- DER++


def test_derpp_by_hand() -> None:
    derpp, student = DerPP(CPU, alpha=0.5, pool=2), nn.Identity()
    images, labels = torch.zeros(2, 1, 2, 3), torch.zeros(2, 2, 3, dtype=torch.int64)
    first = torch.tensor([[1.0, 3.0, 8.0], [5.0, 7.0, 0.0]]).expand(2, 1, 2, 3)
    assert derpp.penalty(student, first, update_on(images, labels)) is None
    state = derpp.state_dict()
    assert (state["positions"], state["logits"].tolist()) == ([0, 1], [[[[4.0, 4.0]]]] * 2)
    update = update_on(images, labels, is_replayed=[True, False])
    penalty = derpp.penalty(student, first + 1, update)  # second epoch: frame 1 is still a stream frame
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * 1 / 2)
    assert derpp.state_dict()["logits"].tolist() == [[[[4.0, 4.0]]]] * 2  # the first logits stay


def test_derpp_stays_finite_when_logits_overflow_float16() -> None:
    student = make_student()
    nn.init.constant_(student[2].weight, 1e6)
    learner = make_learner(student, DerPP(CPU, alpha=1e-9, pool=8), "adam", precision="bfloat16")
    with make_bank() as bank:
        losses = learn(learner, bank, PASSES)
    stored = learner.regularizer.state_dict()["logits"]
    assert stored.isfinite().all()
    assert stored.max() == torch.finfo(torch.float16).max
    assert all(torch.tensor(list(one.values())).isfinite().all() for one in losses)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_under_bfloat16_autocast(name: str) -> None:
    student = make_student()
    learner = make_learner(student, from_yaml(name, student, warmup_passes=1), "adam", precision="bfloat16")
    with make_bank() as bank:
        losses = learn(learner, bank, PASSES)
    assert all(torch.tensor(list(one.values())).isfinite().all() for one in losses)
    state = learner.regularizer.state_dict()
    tensors = [value for key, value in state.items() if isinstance(value, Tensor) and key != "logits"]
    assert all(tensor.dtype == torch.float32 for tensor in tensors)


# --- refused settings


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("lwf", "alpha", -1, "alpha=-1; expected a number of at least 0"),
        ("lwf", "temperature", 0, "temperature=0; expected a number above 0"),
        ("lwf", "reduction", "batchmean", "reduction=batchmean; expected one of mean, sum; did you mean mean?"),
        ("lwf", "warmup_passes", -1, "warmup_passes=-1; expected a whole number of at least 0"),
        ("lwf", "update_every_passes", 0, "update_every_passes=0; expected a whole number of at least 1"),
        ("mas", "strength", float("nan"), "strength=nan; expected a number of at least 0"),
        ("mas", "decay", 1.5, "decay=1.5; expected a number of at least 0 and of at most 1"),
        ("mas", "first_importance", "half", "first_importance=half; expected one of whole, decayed"),
        ("ewc", "strength", -1, "strength=-1; expected a number of at least 0"),
        ("ewc", "decay", -0.1, "decay=-0.1; expected a number of at least 0 and of at most 1"),
        ("rwalk", "strength", -1, "strength=-1; expected a number of at least 0"),
        ("rwalk", "decay", 2, "decay=2; expected a number of at least 0 and of at most 1"),
        ("rwalk", "is_active", "yes", "is_active=yes; expected true or false"),
        ("rwalk", "delta_t", 0, "delta_t=0; expected a whole number of at least 1"),
        ("rwalk", "epsilon", 0, "epsilon=0; expected a number above 0"),
        ("derpp", "alpha", -1, "alpha=-1; expected a number of at least 0"),
        ("derpp", "pool", 1.5, "pool=1.5; expected a whole number of at least 1"),
        ("rwalk", "delta_t", 2.5, "delta_t=2.5; expected a whole number of at least 1"),
        ("mas", "strength", "abc", "strength=abc; expected a number of at least 0"),
        ("ewc", "warmup_passes", 1.5, "warmup_passes=1.5; expected a whole number of at least 0"),
        ("derpp", "pool", 0, "pool=0; expected a whole number of at least 1"),
    ],
)
def test_wrong_settings_are_refused(name: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"regularizer.{message}"):
        from_yaml(name, make_student(), **{key: value})
