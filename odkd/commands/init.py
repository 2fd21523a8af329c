"""Console script `odkd-init`: begin a study in a new folder, with an example of everything that runs as it is.

    odkd-init my_study
    cd my_study
    odkd --config-dir conf experiment=my_study 'allow_targets=[my_study]'

The folder gets a student and a replay memory of its own, an experiment, a table, a test, and a README with commands.
"""

import argparse
import importlib.util
import keyword
import re
import shlex
import sys
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import say
from odkd.common.ending import one_line
from odkd.common.files import at_home
from odkd.common.names import counted
from odkd.config.known import known_groups

TEMPLATES = Path(__file__).resolve().parent / "new_study"
NAME = "my_study"  # stands for the study's name in the templates, in their names too
ENDING = ".in"
HIDDEN = ("gitignore",)  # files that begin with a dot in the study
LONGEST = 40  # letters of a name, which becomes part of the names of run folders
TAKEN = {"conf", "tests", "outputs", "predicted", "table"}  # what else lies in a study's folder
NOT_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}  # YAML and Hydra read no name


def main(arguments: Sequence[str] | None = None) -> None:
    """Begin a study; a mistake becomes one message and exit code 2, a failed write exit code 1."""
    parser = Arguments(prog="odkd-init", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_version(parser)
    parser.add_argument("folder", help="of the study; its last part becomes the study's name")
    chosen = parser.parse_args(arguments)
    with one_line("odkd-init"):
        say(begin(at_home(chosen.folder)))


def begin(folder: Path) -> str:
    """Write a study into a new or empty folder; return what to do next.

    Raises:
        ValueError: something is in the folder already.
    """
    if folder.is_symlink() or folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file; name a new folder")
        if inside := sorted(path.name for path in folder.iterdir()):
            raise ValueError(f"{folder} is not empty ({', '.join(inside[:3])} ...); name a new folder")
    name = study_name(folder.resolve().name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".odkd-init-") as aside:
        made = Path(aside) / "study"  # complete before it has its name
        number = sum(1 for _ in write(made, name))
        if folder.is_dir():
            for path in made.iterdir():
                path.rename(folder / path.name)
        else:
            made.rename(folder)
    command = f"odkd --config-dir conf experiment={name} 'allow_targets=[{name}]'"
    return (
        f"{folder}: {counted(number, 'file')} of the study {name}; README.md has all commands. Begin with\n"
        f"  cd {'-- ' if str(folder).startswith('-') else ''}{shlex.quote(str(folder))}\n  {command}"
    )


def write(folder: Path, name: str) -> Iterator[Path]:
    """Write the templates into a folder, for a study with a name, and yield the files."""
    for template in sorted(TEMPLATES.rglob(f"*{ENDING}")):
        inside = template.relative_to(TEMPLATES).as_posix().removesuffix(ENDING).replace(NAME, name)
        path = folder / (f".{inside}" if inside in HIDDEN else inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
        yield path


def study_name(title: str) -> str:
    """Return a name for a study that Python, YAML and a command line take as it is, and that nothing else has.

    >>> study_name("My study!"), study_name("2026 ablation"), study_name("torch"), study_name("uniform")
    ('my_study', 'study_2026_ablation', 'torch_study', 'uniform_study')
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", plain.lower()).strip("_")[:LONGEST].strip("_") or NAME
    name = name if name[0].isalpha() else f"study_{name}"
    return name if is_free(name) else f"{name}_study"


def is_free(name: str) -> bool:
    """True if a name is no word of Python or YAML, no module that is installed, and no choice of odkd."""
    choices = known_groups()
    if any(name in choices[group] for group in ("experiment", "student", "replay")):
        return False
    if keyword.iskeyword(name) or name in TAKEN | NOT_TEXT or name in sys.stdlib_module_names:
        return False
    found = importlib.util.find_spec(name)
    return found is None or found.origin is None  # a plain folder, perhaps that of the study


if __name__ == "__main__":
    main()
