"""compile=true without a compiler: one line, before a run has a folder."""

from pathlib import Path

import pytest
import torch
from typed_command import refusal

from odkd.common.compiler import check_compiler, compiler_message

CPU = torch.device("cpu")


@pytest.mark.parametrize("compiler", ["/nowhere/g++", "", "false", "/", "g++ --version"])
def test_a_compiler_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(ValueError, match="is none that runs"):
        check_compiler(CPU)


def test_compile_needs_a_compiler_before_anything_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    message = refusal(tmp_path, "debug=smoke", "tracking=none", "compile=true", "device=cpu", "run.report=false")
    assert message == (
        "compile=true needs a C++ compiler, and CXX=/nowhere/g++ is none that runs; install one, or set compile=false"
    )
    assert not list(tmp_path.rglob("*.mp4"))


@pytest.mark.parametrize(("device", "language"), [("cpu", "C++"), ("cuda", "C")])
def test_a_machine_without_compilers_is_told_which_one_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, language: str
) -> None:
    for variable in ("CXX", "CC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="and there is no ") as refused:
        check_compiler(torch.device(device))
    assert f"needs a {language} compiler" in str(refused.value)
    for name in ("g++", "clang++", "gcc"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    check_compiler(torch.device(device))


def test_an_error_of_the_compiler_itself_is_one_line() -> None:
    from torch._inductor.exc import CppCompileError

    error = CppCompileError(["g++", "x.cpp"], "x.cpp:1: fatal error: Python.h: No such file or directory")
    message = compiler_message(error)
    assert message is not None
    assert "Python.h: No such file" in message
    assert "set compile=false" in message
    assert "\n" not in message
    assert compiler_message(RuntimeError("x")) is None
