"""Settings of a run folder: the fast loader spells values as OmegaConf does."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from run_folders import CLASSES, make_run

from odkd.common.dotted import flatten
from odkd.config.compose import default_config
from odkd.config.known import CONF
from odkd.report.settings import Loader, classes_of, settings_of, spelled
from odkd.runs.results import Run, read_run

NASTY = """
numbers: [1e-4, 1e-05, 1E5, 1.e3, .5, -2.5e+3, +1e3, 1_0e2, 1e, 0x1f, 0012, 0o12, 08, 1_000, 1:30, 1:30.5, .inf, .nan]
words: [on, off, yes, no, True, null, ~, "", '1e-4', 2026-11-22, 2026-11-22 10:00:00, 1.2.3, e5, "???", "${a.b}"]
nested: {3: x, true: y, empty: {}, list: [[1, 2], {a: 1e-4}], text: "Müller: a # b"}
anchor: &anchor {lr: 1e-4}
again: {<<: *anchor, decay: 0}
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(make_run(tmp_path / "run", num_iterations=2))


def test_settings_are_spelled_as_omegaconf_reads_them(run: Run) -> None:
    files = sorted(CONF.glob("experiment/**/*.yaml"))
    assert len(files) > 20
    for text in (NASTY, OmegaConf.to_yaml(default_config(), resolve=True), *(file.read_text() for file in files)):
        (run.folder / "config.yaml").write_text(text)
        loaded: Any = OmegaConf.to_container(OmegaConf.load(run.folder / "config.yaml"))
        assert list(settings_of(run).items()) == list(flatten(loaded, spell=spelled).items())


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML has no C loader")
def test_the_yaml_loader_is_written_in_c() -> None:
    assert issubclass(Loader, yaml.CSafeLoader)  # with the other loader, a report of a thousand runs takes minutes


@pytest.mark.parametrize("broken", [b"a: [", b"text", b"a: !!python/name:os.system", b"\xff"])
def test_an_unreadable_config_is_replaced_by_the_settings_in_run_json(run: Run, broken: bytes) -> None:
    (run.folder / "config.yaml").write_bytes(broken)
    assert settings_of(run) == run.params
    assert classes_of(run) == CLASSES
