"""odkd-profile: counts equal those by hand, times are those of a run's own code, answers hold in real time."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from extras import need
from fabricated_profile import fabricated_profile
from torch import nn

import odkd.commands.profile as command
from odkd.commands.profile import main, measure
from odkd.commands.profile.configs import config_of_run, config_of_words, digest_of
from odkd.commands.profile.cost import count_flops, count_parameters
from odkd.commands.profile.plans import plan_of, sampled_rate
from odkd.commands.profile.real_time import Plan, real_time
from odkd.commands.profile.show import table_of
from odkd.config.known import known_groups
from odkd.config.subject import Subject
from odkd.runs.measuring import FEWEST, WARM_CALLS, time_calls
from odkd.runs.profiles import NUMBERS, read_profile, write_profile
from odkd.students.equal_forms import use_fast_forms
from odkd.students.tinynet import TinyNet

SMALL = ["dataset.size=[32,48]", "device=cpu", "precision=float32"]


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, into which a profile may be written."""
    return Path(shutil.copytree(run, tmp_path / run.name))


def profile(*words: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == code


def test_operations_of_a_convolution_are_those_counted_by_hand() -> None:
    network = nn.Conv2d(3, 5, 3, padding=1)
    counted = count_flops(network, (6, 8), batch_size=2)
    assert counted.evaluate == 2 * 3 * 3 * 3 * 5 * 6 * 8
    assert counted.learn == 2 * counted.evaluate  # forward, and the gradient of the weights; images need none


def test_operations_of_grouped_and_transposed_convolutions_are_those_counted_by_hand() -> None:
    depthwise = nn.Conv2d(3, 6, 3, padding=1, stride=2, groups=3)
    counted = count_flops(depthwise, (6, 8), batch_size=1)
    assert counted.evaluate == 2 * 1 * 3 * 3 * 6 * 3 * 4
    assert counted.learn == 2 * counted.evaluate
    two = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 2, 2, stride=2, groups=2))
    first, second = 2 * 3 * 4 * 48, 2 * 4 * 1 * 2 * 2 * 48
    counted = count_flops(two, (6, 8), batch_size=1)
    assert counted.evaluate == first + second
    assert counted.learn == 2 * first + 3 * second


def test_operations_of_attention_are_counted() -> None:
    class Attention(nn.Module):
        def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
            tokens = images_BCHW.flatten(2).transpose(1, 2)[:, None]  # [B, 1 head, 48 tokens, 3]
            return F.scaled_dot_product_attention(tokens, tokens, tokens)

    assert count_flops(Attention(), (6, 8), batch_size=1).evaluate == 2 * (2 * 48 * 48 * 3)


def test_operations_of_tinynet_are_those_of_its_layers_whatever_its_form() -> None:
    network, by_hand = TinyNet(num_classes=19), [0]

    def add(layer: nn.Conv2d, _: Any, answer: torch.Tensor) -> None:
        by_hand[0] += 2 * layer.weight[0].numel() * answer[0].numel()

    use_fast_forms(network, False)
    hooks = [part.register_forward_hook(add) for part in network.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 48))
    for hook in hooks:
        hook.remove()
    counted = set()
    for is_fast in (False, True):
        use_fast_forms(network, is_fast)
        counted.add(count_flops(network, (32, 48), batch_size=1).evaluate)
    assert counted == {by_hand[0]}
    assert count_parameters(network).all == 829_207


def test_frozen_parameters_do_not_learn() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    counted = count_parameters(network)
    assert (counted.all, counted.learned, counted.num_bytes) == (13, 4, 52)


def test_calls_that_warm_up_do_not_count() -> None:
    numbers: list[int] = []
    found = time_calls(numbers.append, seconds=0.0)
    assert (len(found), numbers) == (FEWEST, list(range(WARM_CALLS + FEWEST)))


@pytest.mark.parametrize(
    ("plan", "evaluate", "update"),
    [
        (Plan(25.0, 25, 20, 10, 1, 1), 0.011, 0.053),
        (Plan(30.0, 75, 67, 20, 3, 4), 0.0217, 0.31),
        (Plan(5.0, 5, 12, 6, 1, 8), 0.15, 0.9),
    ],
)
def test_the_answers_in_real_time_are_the_last_that_hold(plan: Plan, evaluate: float, update: float) -> None:
    """Against a slow twin that adds up the seconds of one retraining and of the frames until the next."""

    def holds(learn: int, stride: float) -> bool:
        num_frames = plan.step * stride
        work = num_frames * evaluate + plan.epochs * math.ceil(learn / plan.batch_size) * update
        return work <= num_frames / plan.rate + 1e-9

    found = real_time(plan, evaluate, update)
    longest = max((n for n in range(1, 3000) if holds(n, plan.stride)), default=None)
    assert found["longest_window"] == longest
    assert found["shortest_stride"] == min(n for n in range(1, 3000) if holds(plan.learn, n))
    work = found["retrained_every_seconds"] * plan.rate * evaluate + found["retraining_seconds"]
    assert work == pytest.approx(found["retrained_every_seconds"])


def test_a_student_that_cannot_even_evaluate_in_time_has_no_answers() -> None:
    found = real_time(Plan(25.0, 25, 20, 10, 1, 1), evaluate_seconds=0.05, update_seconds=0.01)
    assert found["evaluated_per_second"] == 20
    assert [found[key] for key in ("retrained_every_seconds", "longest_window", "shortest_stride")] == [None] * 3


def test_a_run_is_profiled_and_keeps_it(
    own_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "export_onnx", lambda *_: (None, "it takes seconds"))
    profile(own_run, "--seconds", "0.01", "--json")
    printed = json.loads(capsys.readouterr().out)
    kept = read_profile(own_run)
    assert kept is not None
    assert kept["run"] == json.loads((own_run / "run.json").read_text())["key"]
    assert printed == {key: value for key, value in kept.items() if key != "run"}
    rows = {(row["what"], row["runtime"]) for row in printed["timings"]}
    assert {("evaluate", "torch"), ("learn", "torch")} <= rows
    threads = sorted({row["threads"] for row in printed["timings"] if row["runtime"] == "torch"})
    assert (threads[0], threads[-1]) == (1, torch.get_num_threads())
    for row in printed["timings"]:
        assert 0 < row["seconds"]["p50"] <= row["seconds"]["p90"] <= row["seconds"]["p99"]
    plan = printed["real_time"]["plan"]
    assert (plan["learn"], plan["step"], plan["rate"]) == (6, 4, 4.0)  # the renderer's frames per second
    assert all(number.read(kept) is not None for name, number in NUMBERS.items() if name != "onnx_seconds")


def test_a_changed_profile_and_that_of_another_run_are_refused(own_run: Path) -> None:
    path = write_profile(own_run, fabricated_profile() | {"run": "0123"})
    assert read_profile(own_run, "0123") == fabricated_profile() | {"run": "0123"}
    with pytest.raises(ValueError, match="is the profile of another run; make it again: odkd-profile"):
        read_profile(own_run, "4567")
    path.write_text(path.read_text().replace("829207", "829208"))
    with pytest.raises(ValueError, match=r"profile\.json is damaged: .*; make it again: odkd-profile"):
        read_profile(own_run)


@pytest.mark.parametrize(
    "words",
    [
        ["loss=kl", "teacher.soft.top_k=3"],
        ["loss=mckd", "teacher.soft.top_k=3"],
        ["stage.order=paired_apart", "stage.batch_size=2"],
        ["regularizer=mas"],
        ["regularizer=lwf"],
        ["stage=mckd", "augmentation=flip"],
    ],
)
def test_whatever_changes_a_student_is_part_of_its_update(words: list[str]) -> None:
    subject = Subject(config_of_words([*SMALL, *words], None, []))
    before = [weight.clone() for weight in subject.learner.student.parameters()]
    subject.learn(0)
    subject.evaluate(0)
    subject.close()
    assert any(not torch.equal(*pair) for pair in zip(before, subject.learner.student.parameters(), strict=True))


def test_equal_students_are_measured_once(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(own_run, tmp_path / "other"))
    asked: list[list[str]] = []

    def measured(_: Any, subjects: list[str]) -> tuple[dict[str, Any], str]:
        asked.append(subjects)
        return fabricated_profile(), ""

    monkeypatch.setattr(command, "_in_process", measured)
    profile(own_run, other, tmp_path / "nothing", code=1)
    assert asked == [[str(own_run)]]
    assert all(read_profile(folder) is not None for folder in (own_run, other))
    printed = capsys.readouterr()
    assert printed.out.count("| tinynet |") == 2
    assert "nothing has no config.yaml" in printed.err


def test_settings_that_change_no_time_leave_the_digest_as_it_is() -> None:
    def digest(*words: str) -> str:
        return digest_of(config_of_words([*SMALL, *words], None, []))

    plain = digest()
    assert plain == digest("seed=3", "window.learn=5", "replay=uniform", "dataset=synthetic_tiny")
    assert len({plain, digest("dataset.size=[32,64]"), digest("regularizer=mas", "stage.batch_size=2")}) == 3


def test_all_students_become_rows_and_one_that_fails_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(_: Any, subjects: list[str]) -> tuple[dict[str, Any] | None, str]:
        name = subjects[0].removeprefix("student=")
        assert subjects[1:] == ["dataset.size=[32,48]"]
        return (None, "needs more memory") if name == "smp" else (fabricated_profile(name), "")

    monkeypatch.setattr(command, "_in_process", measured)
    profile("--all", "dataset.size=[32,48]", code=1)
    printed = capsys.readouterr()
    assert (
        "| tinynet | 0.83 | 0.80 | 4.00 | 12.00 | 10.0 | 5.0 | 10.0 | 4.0 | 20.0 | 50 | 200 | 100.0 | 0.53 | 2 |"
        in (printed.out)
    )
    assert "| swin_tiny_deeplabv3plus |" in printed.out
    assert "odkd-profile: student=smp: needs more memory" in printed.err


def test_a_table_says_where_and_for_what_it_holds() -> None:
    text = table_of([fabricated_profile(), fabricated_profile("other", threads="8 threads")])
    assert "Other programs" not in text
    assert "* Other programs used 1.0 cores" in table_of([fabricated_profile() | {"busy_cores": 1.0}])
    assert "On cpu: A processor, 2 threads; torch 2." in text
    assert "On cpu: A processor, 8 threads; torch 2." in text
    assert "11 classes, 32 x 48 pixels, float32, channels-last, fast forms; updates of 1 image." in text


def test_the_rate_of_a_runs_video_comes_from_its_metrics(run: Path, tmp_path: Path) -> None:
    cfg = config_of_run(run, "cpu", [])
    assert plan_of(cfg, None, run).rate == 4.0
    assert plan_of(cfg, 30.0, run).rate == 30.0
    assert plan_of(cfg, None, None).rate == 25.0
    cfg.dataset.stride_seconds = 0.5
    assert plan_of(cfg, 30.0, run).stride == 15.0
    assert sampled_rate(tmp_path) is None


def test_what_a_runs_folder_permits_itself_does_not_count(own_run: Path) -> None:
    (own_run / "run.json").unlink()
    path = own_run / "config.yaml"
    path.write_text(path.read_text().replace("allow_targets: []", "allow_targets: [evil]"))
    path.write_text(path.read_text().replace("odkd.students.tinynet.TinyNet", "evil.Net"))
    with pytest.raises(ValueError, match=r"student\._target_=evil\.Net is not allowed"):
        config_of_run(own_run, "cpu", [])


def test_nothing_is_downloaded_or_read_for_a_student_without_a_run() -> None:
    cfg = config_of_words(["student=swin_tiny_deeplabv3plus", "dataset=videos"], None, [])  # with ImageNet weights
    assert (cfg.student.encoder_weights, cfg.student.weights) == (None, None)
    cfg = config_of_words(
        ["experiment=camvid_online"], None, []
    )  # whose files are below dataset.root, which is not set
    assert digest_of(cfg)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a run's folder, settings such as student=tinynet, or --all"),
        (["RUN", "student=tinynet"], "has its own settings"),
        (["--all", "student=tinynet"], "--all profiles every student"),
        (["nothing"], "nothing has no config.yaml"),
        (["student=tinynett"], "did you mean tinynet?"),
        (["student.dropout=2"], "student.dropout=2"),
        (["stage=label"], "stage=label has no student"),
        (["--seconds", "0", "student=tinynet"], "--seconds 0"),
        (["RUN", "--device", "cuda:99"], "device=cuda:99"),
        (["RUN", "--config-dir", "x"], "--config-dir is for settings"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(
    run: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(*(str(run) if word == "RUN" else word for word in words), code=2)
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert says in printed[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("loss:\n", "loss: 5\nx:\n"),
        ("window:\n", "windows:\n"),
        ("optimizer:\n", "optimizer: [1]\nx:\n"),
        ("  learn: 6\n", ""),
        ("bank:\n", "bank: 3\nx:\n"),
    ],
)
def test_a_damaged_config_is_one_line(
    own_run: Path, before: str, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_run / "run.json").unlink()  # which has the digest
    path = own_run / "config.yaml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))
    profile(own_run, "--seconds", "0.01", code=2)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_run_of_before_some_settings_is_profiled_as_it_was_computed(own_run: Path) -> None:
    (own_run / "run.json").unlink()
    path = own_run / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    newer = ("fast_forms:", "channels_last:", "compile:", "  overlay_video:")
    kept = [line for line in lines if not line.startswith(newer)]
    assert len(kept) == len(lines) - len(newer)
    path.write_text("".join(kept))
    cfg = config_of_run(own_run, "cpu", [])
    assert (cfg.fast_forms, cfg.channels_last, cfg.compile, cfg.run.overlay_video) == (False, False, False, True)


@pytest.mark.slow
@pytest.mark.parametrize("student", known_groups()["student"])
def test_every_student_that_odkd_has_is_profiled(student: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "export_onnx", lambda *_: (None, "tests of odkd-export do that"))
    cfg = config_of_words([f"student={student}", "dataset.size=[32,64]", *SMALL[1:]], None, [])
    found = measure.measure(cfg, seconds=0.0)
    assert found["flops"]["learn"] > found["flops"]["evaluate"] > 0
    assert found["parameters"]["all"] >= found["parameters"]["learned"] > 0
    assert len(found["timings"]) == 2 * len(measure.thread_counts(torch.get_num_threads()))


@pytest.mark.slow
def test_each_student_is_measured_in_a_process_of_its_own_and_onnx_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        need(library)
    monkeypatch.setattr("odkd.config.known.known_groups", lambda _: {"student": ["tinynet", "nonsense"]})
    profile("--all", *SMALL, "--seconds", "0.01", "--json", code=1)
    printed = capsys.readouterr()
    (found,) = json.loads(printed.out)
    assert {row["runtime"] for row in found["timings"]} == {"torch", "onnx"}
    assert "student=nonsense: " in printed.err


@pytest.mark.slow
def test_a_student_of_ones_own_is_profiled(odkd: Callable[..., Path], tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "my_net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Conv2d):\n"
        "    def __init__(self, num_classes):\n        super().__init__(3, num_classes, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    node = ["student._target_=my_net.Net", "~student.dropout", "student.name=mine", "allow_targets=[my_net]"]
    run = odkd(*node)
    profile(run, "--seconds", "0.01", "--allow-targets", "my_net")
    kept = read_profile(run)
    assert kept is not None
    assert kept["parameters"]["all"] == 11 * 4
