"""The configs of a sweep's jobs are composed once for each choice of files, and are those that Hydra composes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from odkd.config.known import CONF
from odkd.config.loader import LayeredLoader, install, left_out_by

install()
JOBS = [
    ["seed=1", "window.learn=5"],
    ["seed=2", "window.learn=7", "dataset.domains={}", "+student.more=[1,2]"],
    ["window={learn: 3, test: 2, step: 1}", "window.learn=9"],
    ["window.learn=9", "window={learn: 3, test: 2, step: 1}"],
    ["replay=uniform", "replay.capacity=100", "run.name='a b'"],
    ["~window.step", "seed=3", "allow_targets=[mine]", "tracking=none"],
    ["experiment=camvid_online", "teacher=pspnet", "seed=1"],
    ["sweep=window_size", "hydra.sweep.subdir=x", "seed=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
]


@pytest.fixture
def loader() -> Iterator[LayeredLoader]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = GlobalHydra.instance().config_loader()
        assert isinstance(found, LayeredLoader)
        yield found


def content(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def test_a_job_has_the_config_that_hydra_composes_whatever_was_composed_before(loader: LayeredLoader) -> None:
    master = loader.load_configuration("config", ["device=cpu"], RunMode.MULTIRUN)
    master.hydra.overrides.hydra = ["hydra.verbose=true"]
    for words in [*JOBS, *JOBS]:
        job = loader.load_sweep_config(master, list(words))
        said = left_out_by(loader, is_sweep=True)
        plain = loader.load_configuration("config", ["hydra.verbose=true", *words], RunMode.RUN)
        assert content(job) == content(plain)
        assert said == left_out_by(loader, is_sweep=True)
        assert (OmegaConf.is_struct(job), OmegaConf.is_readonly(job.hydra)) == (True, False)
        job.seed, job.hydra.job.id = 99, "x"  # nor is what a job does to its config seen by the next one


def test_files_are_read_once_for_jobs_with_the_same_choices(
    loader: LayeredLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    calls = []
    compose = LayeredLoader._compose_config_from_defaults_list
    monkeypatch.setattr(
        LayeredLoader, "_compose_config_from_defaults_list", lambda *a, **k: (calls.append(1), compose(*a, **k))[1]
    )
    for seed in range(5):
        for replay in ("fifo", "uniform"):
            job = loader.load_sweep_config(master, [f"replay={replay}", f"seed={seed}", "tracking=none"])
            assert (job.seed, job.hydra.runtime.choices.replay) == (seed, replay)
    assert len(calls) == 2


def test_a_value_that_does_not_fit_is_the_same_mistake_in_a_job(loader: LayeredLoader) -> None:
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    for words in (["window.lern=5"], ["seed.x=5"], ["replay=unifrom"], ["allow_target=[x]"]):
        for _ in range(2):
            with pytest.raises(HydraException) as of_job:
                loader.load_sweep_config(master, ["seed=1", *words])
            with pytest.raises(HydraException) as plain:
                loader.load_configuration("config", ["seed=1", *words], RunMode.RUN)
            assert (str(of_job.value), str(of_job.value.__cause__)) == (str(plain.value), str(plain.value.__cause__))


def test_a_file_of_ones_own_gives_no_permission_to_a_job(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nallow_targets: [mine]\n")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)
        search = f"hydra.searchpath=['file://{tmp_path}']"
        with pytest.raises(ValueError, match="allow_targets"):
            loader.load_sweep_config(master, [search, "experiment=mine", "seed=1"])
