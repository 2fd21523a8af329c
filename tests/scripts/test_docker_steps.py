"""The Dockerfile's steps, executed without a daemon: what each instruction does, and the real ones once."""

import os
import subprocess
import sys
from pathlib import Path

import docker_steps
import pytest
from docker_steps import Image, instructions
from extras import need
from paths import ROOT

SMALL = """\
ARG BASE=slim
FROM python:${BASE}
# A comment.
ARG DEVICE=cuda
ARG MORE=
ENV GREETING=hello PLACE=here
WORKDIR /opt/app
COPY one.txt two.txt ./
COPY folder folder
RUN test "$DEVICE" = cpu && \\
    # a comment inside
    echo "$GREETING ${MORE:+[$MORE]}" > said.txt
WORKDIR /work
RUN cat ../opt/app/said.txt > copy.txt
ENTRYPOINT ["cat"]
CMD ["copy.txt"]
"""


@pytest.fixture
def image(tmp_path: Path) -> Image:
    context = tmp_path / "context"
    (context / "folder" / "__pycache__").mkdir(parents=True)
    for name in ("one.txt", "two.txt", "folder/three.txt", "folder/__pycache__/x.pyc"):
        (context / name).write_text(name)
    return Image(tmp_path / "root", context, {"DEVICE": "cpu", "MORE": "smp"}, {"PATH": os.environ["PATH"]})


def test_instructions_do_what_they_do_in_a_build(image: Image) -> None:
    image.build(SMALL)
    app = image.root / "opt" / "app"
    files = {path.relative_to(image.root).as_posix() for path in image.root.rglob("*") if path.is_file()}
    own = {f"opt/app/{name}" for name in ("one.txt", "two.txt", "folder/three.txt", "said.txt")}
    assert files == {*own, "work/copy.txt"}
    assert (app / "folder" / "three.txt").read_text() == "folder/three.txt"
    assert (image.root / "work" / "copy.txt").read_text() == "hello [smp]\n"
    assert image.program == {"ENTRYPOINT": ["cat"], "CMD": ["copy.txt"]}


def test_a_failed_step_and_what_is_not_known_end_the_build(image: Image) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        image.build(SMALL.replace('"$DEVICE" = cpu', '"$DEVICE" = cuda'))
    with pytest.raises(ValueError, match="HEALTHCHECK none: this instruction is not known"):
        image.build(SMALL + "HEALTHCHECK none\n")
    image.given = {"DEVICES": "cpu"}
    with pytest.raises(ValueError, match="--build-arg DEVICES: the Dockerfile has BASE, DEVICE, MORE"):
        image.build(SMALL)


def test_the_dockerfile_copies_what_there_is_and_chooses_the_device_by_an_argument() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [word for name, rest in instructions(text) if name == "COPY" for word in rest.split()[:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    arguments = [rest for name, rest in instructions(text) if name == "ARG"]
    assert "DEVICE=cuda" in arguments
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(copied) & set(ignored)


def test_a_cpu_image_says_that_it_needs_an_index(tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text()
    upto_torch = text[: text.index("COPY pyproject.toml")]
    environment = {"PATH": os.environ["PATH"]}
    with pytest.raises(subprocess.CalledProcessError) as error:
        Image(tmp_path, ROOT, {"DEVICE": "cpu"}, environment).build(upto_torch)
    assert error.value.returncode == 1


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_all_steps_run_and_the_main_job_after_them(tmp_path: Path) -> None:
    need("hatchling")
    command = [sys.executable, docker_steps.__file__, "--here", "--folder", str(tmp_path), "--run", "debug=smoke"]
    done = subprocess.run([*command, "tracking=none"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed odkd" in done.stdout
    assert done.stdout.rstrip().endswith("all steps of the Dockerfile were executed")
    assert list((tmp_path / "root" / "study" / "outputs" / "runs").glob("*/summary.json"))
    assert list(tmp_path.glob("python/lib/*/site-packages/odkd/commands/new_study/README.md.in"))
