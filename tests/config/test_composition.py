"""The cheaper composition gives what Hydra's own gives, and sees files that change."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from odkd.config.compose import compose_config

COMMANDS = (
    "",
    "debug=smoke replay=fifo seed=1",
    "experiment=camvid_online teacher=pspnet",
    "stage=mckd_first dataset=synthetic_images",
    "~regularizer +tracking.x=1",
    "student=nothing",
)
PLAIN = """
import sys

import odkd.config.composition as composition
composition.install = lambda: None
from odkd.config import loader
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal import config_loader_impl

def create(repo, **keywords):
    made = create_defaults_list(repo=repo, **keywords)
    repo.choices = create_defaults_list(repo=repo, **keywords).overrides  # from a list of its own
    return made

config_loader_impl.create_defaults_list = create
from test_composition import composed
for words in sys.argv[1:]:
    print(composed(words))
"""


def composed(words: str) -> str:
    """Return the config of a command as YAML, or the message that it ends with."""
    try:
        return OmegaConf.to_yaml(compose_config(words.split()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_configs_are_those_of_hydras_own_composition() -> None:
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN, *COMMANDS], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert plain.stdout == "".join(f"{composed(words)}\n" for words in COMMANDS), plain.stderr


def test_a_file_that_changes_between_two_jobs_is_read_anew(tmp_path: Path) -> None:
    own = tmp_path / "window" / "own.yaml"
    own.parent.mkdir()
    for learn in (5, 16):
        own.write_text(f"defaults: [standard]\nlearn: {learn}\n")
        assert compose_config(["window=own"], str(tmp_path)).window.learn == learn
    own.unlink()
    with pytest.raises(Exception, match="Could not find 'window/own'"):
        compose_config(["window=own"], str(tmp_path))


def test_a_choice_may_depend_on_another_choice(tmp_path: Path) -> None:
    own = tmp_path / "window" / "by_debug.yaml"
    own.parent.mkdir()
    own.write_text("defaults:\n  - standard\n  - /lengths@_here_: of_${debug}\n  - _self_\n")
    (tmp_path / "lengths").mkdir()
    (tmp_path / "lengths" / "of_smoke.yaml").write_text("learn: 5\n")
    assert compose_config(["window=by_debug", "debug=smoke"], str(tmp_path)).window.learn == 5


def test_what_a_job_changes_in_its_config_is_not_in_the_next_ones() -> None:
    first = compose_config(["replay=fifo"])
    OmegaConf.set_struct(first, False)
    first.replay.extra = 1
    first.dataset.classes.append("more")
    assert "extra" not in compose_config(["replay=fifo"]).replay
    assert "more" not in compose_config(["replay=fifo"]).dataset.classes
