"""The settings of a command as people type them, as overrides that Hydra reads.

Hydra's language of overrides knows no home folder, no quoted keys and no letters outside ASCII. A word that it reads is
passed on as it is; another one is rewritten if its meaning is plain, and refused with advice if it is not.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from odkd.common.dotted import NUMBER_OR_SO, quoted, split_override
from odkd.common.files import at_home
from odkd.common.names import nearest

Groups = Mapping[str, Sequence[str]]  # name of a group -> its choices
OPEN_TABLES = (  # their keys are the user's
    *("dataset.domains", "dataset.order.skip_minutes", "teacher.confusion", "dataset.ids", "teacher.ids"),
    *("teacher.members", "teacher.weights", "teacher.experts", "teacher.prompts"),
)
SEVERAL_FILES = ("experiment", "sweep", "baseline", "debug")  # groups that change others: [a,b] joins two files
JOINED = (*SEVERAL_FILES, "tracking")  # and one of which a run may have several
FUNCTIONS = ("choice", "range", "interval", "glob", "shuffle", "sort", "tag", "int", "float", "str", "bool")
TYPOGRAPHIC = str.maketrans(
    {"\N{NO-BREAK SPACE}": " "} | dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("“”„″", '"') | dict.fromkeys("‘’‚′", "'")
)
IN_A_KEY = r"[\w/\\+.$%*@?| \t()\[\]{}:=,-]*"  # what Hydra's keys of tables can hold, some of it escaped


def read_settings(words: Sequence[str], groups: Groups, keys: Callable[[], Iterable[str]]) -> list[str]:
    """Return the words of a command as overrides that Hydra reads; a word that it reads already stays as it is.

    Args:
        words: without options.
        groups: the known groups.
        keys: returns the known settings; called only for a message, because it reads all YAML files.

    Raises:
        ValueError: a word is no setting, or its value cannot be read.

    >>> read_settings(['dataset.domains={"*night*": night}', "teacher=pspnet.yaml"], {"teacher": ["pspnet"]}, list)
    ['++dataset.domains={*night*: night}', 'teacher=pspnet']
    """
    for word, following in itertools.pairwise(words):
        if word.rstrip("=") and word.endswith("=") and "=" not in following:
            raise ValueError(f"'{word}' and '{following}' are cut at a space; write {word}{following}")
    return [_read(word, words[number + 1 :], groups, keys) for number, word in enumerate(words)]


def without_effect(words: Sequence[str]) -> list[str]:
    """Return a line for each setting or choice that a later word of the command replaces.

    >>> without_effect(["seed=1", "replay=fifo", "seed=2"])
    ['seed=1 does not count: seed=2 follows']
    """
    last = {split_override(word)[0]: word for word in words if "=" in word}
    return [
        f"{word} does not count: {last[key]} follows"
        for word in words
        if (key := split_override(word)[0]) in last and last[key] != word
    ]


def advice_on(word: str, following: Sequence[str], groups: Groups, keys: Iterable[str]) -> str:
    """Return what to write instead of a word without "=": `teacher`, `seed:3`, `smoke`; "" if that is not plain.

    >>> advice_on("teacher", ["pspnet"], {"teacher": ["pspnet"]}, [])
    'write teacher=pspnet'
    """
    names = {*groups, *keys}
    value = following[0] if following and "=" not in following[0].strip("=") else ""
    apart = re.fullmatch(r"([\w.]+?)(\s*:\s*|[./])(.+)", word)
    if apart and apart[1] in names and (":" in apart[2] or apart[3] in groups.get(apart[1], ())):
        return f"write {apart[1]}={apart[3]}"
    if word in names and value.strip("="):
        return f"write {word}={value.strip('=')}"
    if word in names and value and len(following) > 1:
        return f"write {word}={following[1]}, without spaces"
    if word in groups:
        return f"write {word}=NAME (known: {', '.join(groups[word])})"
    if inner := [key.removeprefix(f"{word}.") for key in names if key.startswith(f"{word}.")]:
        return f"write {word}.NAME=VALUE (known: {', '.join(sorted(inner))})"
    if word in names:
        return f"write {word}=VALUE"
    if word in ("help", "version"):
        return f"write --{word}"
    if homes := [group for group, choices in groups.items() if word in choices and "hydra" not in group]:
        return f"write {' or '.join(f'{group}={word}' for group in homes)}"
    return ""


def _read(word: str, following: Sequence[str], groups: Groups, keys: Callable[[], Iterable[str]]) -> str:
    if "=" not in word:
        if re.fullmatch(r"~[\w.@/]+", word.strip()) and not word.startswith("~/"):
            return word  # deletes a setting
        advice = advice_on(word.strip(), following, groups, keys())
        raise ValueError(f"'{word}' is no setting; {advice or 'expected KEY=VALUE, such as seed=3'} (see odkd --help)")
    key, _, value = word.partition("=")
    key = key.strip()
    _check_key(word, key, groups, keys)
    group = split_override(key)[0].partition("@")[0]
    if group in groups:
        value = _choice(group, value)
    is_entry = any(key.startswith(f"{table}.") for table in OPEN_TABLES)
    if is_entry or (key in OPEN_TABLES and value.lstrip().startswith("{")):
        key = f"++{key}"  # Hydra adds no key to a table without it
    value = _without_quoted_keys(key, _with_home(value))
    if re.fullmatch(r"[\w/.+%@:-]*", value, re.ASCII) or is_readable(f"{key}={value}"):
        return f"{key}={value}"
    return f"{key}={_rescued(key, value.strip(), following)}"


def is_readable(override: str) -> bool:
    """True if Hydra's parser reads an override."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _check_key(word: str, key: str, groups: Groups, keys: Callable[[], Iterable[str]]) -> None:
    if not key.strip("+~"):
        raise ValueError(f"'{word}' has no name before =; expected KEY=VALUE, such as seed=3")
    if not re.fullmatch(r"[+~]*[\w$@./-]+", key, re.ASCII):
        plain = word.translate(TYPOGRAPHIC).lstrip("- ").strip("\"'")
        name = plain.partition("=")[0].strip()
        known = [*groups, *keys()]
        advice = f"; write {plain}" if name in known and plain != word else nearest(name, known)
        raise ValueError(f"'{word}': {key} is no name of a setting{advice}")


def _choice(group: str, value: str) -> str:
    """Return a choice of a group by its name: files are named without folder and ending, numbers are names too."""
    name = value.strip()
    if name.startswith("[") and group not in JOINED:
        names = name.strip("[] ")
        raise ValueError(f"{group}={name}: a run has one {group}; for a run with each, write  odkd -m {group}={names}")
    if group == "tracking" and re.search(r"[\[,]\s*none\s*[,\]]|\[\s*\]", name):
        raise ValueError(f"{group}={name}: tracking=none means no tracker; write it alone, or name those that you want")
    name = re.sub(rf"(^|(?<=,))\s*(\./)?conf/{group}/|\.ya?ml\s*((?=,)|$)", "", name)
    is_none = name.lower() == "null" and group in SEVERAL_FILES
    is_name = re.fullmatch(NUMBER_OR_SO, name, re.IGNORECASE) and not is_none
    return f"'{name}'" if is_name else name


def _with_home(value: str) -> str:
    """Return a value with the home folder in place of ~ at the start of a path, also in a list and in quotes."""

    def home(found: re.Match[str]) -> str:
        return found[1] + str(at_home(found[2]))

    return re.sub(r"((?:^|[\[,(:{])\s*['\"]?)(~[\w.-]*)(?=[/'\",\])}\s]|$)", home, value)


def _without_quoted_keys(key: str, value: str) -> str:
    """Return a value whose tables have escaped keys in place of quoted ones, which Hydra does not read.

    >>> _without_quoted_keys("dataset.domains", '{"a:b": "c:d"}')
    '{a\\\\:b: "c:d"}'
    """

    def unquoted(found: re.Match[str]) -> str:
        if found["key"] is None:
            return found[0]  # a quoted value
        name = re.sub(r"\\(.)", r"\1", found["key"][1:-1])
        if re.fullmatch(NUMBER_OR_SO, name, re.IGNORECASE) or not re.fullmatch(IN_A_KEY, name, re.ASCII) or not name:
            raise ValueError(
                f"{key.lstrip('+')}: the quoted key {found['key']} cannot be given in a command; write it into a YAML "
                "file of your own (--config-dir), or as a pattern: ? is any letter, [1] is the digit 1"
            )
        escaped = re.sub(r"[\\()\[\]{}:=,]|^\s|\s$", r"\\\g<0>", name)
        return found["before"] + escaped

    text = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
    return re.sub(rf"(?P<before>[{{,]\s*)(?P<key>{text})(?=\s*:)|{text}", unquoted, value)


def _rescued(key: str, value: str, following: Sequence[str]) -> str:
    """Return a value that Hydra does not read as a quoted text.

    Raises:
        ValueError: it is more likely a slip in a list, a table, a number or a function.
    """
    key, plain = key.lstrip("+"), value.translate(TYPOGRAPHIC)
    is_copied = value[:1] in "“”„‘’‚" or re.fullmatch(NUMBER_OR_SO, plain, re.IGNORECASE)
    if plain != value and is_copied:
        raise ValueError(f"{key}={value}: a quote or dash in it was typeset by a text program; write {key}={plain}")
    if value[:1] in ("[", "{"):
        closing = {"[": "]", "{": "}"}[value[0]]
        rest = next((n for n, word in enumerate(following) if word.endswith(closing)), None)
        if not value.endswith(closing) and rest is not None:
            whole = " ".join([value, *following[: rest + 1]])
            raise ValueError(f"{key}={value} is cut at a space; write all of it in quotes: '{key}={whole}'")
        form = "[a,b]" if value[0] == "[" else "{name: value, other: value}"
        raise ValueError(
            f"{key}={value} cannot be read; expected {form}, texts with other characters in double quotes, and all of "
            f"it in single quotes: '{key}={form}'"
        )
    if value[:1] in ("'", '"'):
        raise ValueError(f"{key}={value}: the quotes in it do not end where the value ends")
    if (found := re.match(r"([A-Za-z_]\w*)\s*\(", value)) and value.endswith(")"):
        known = found[1] in FUNCTIONS
        reason = "its arguments cannot be read" if known else f"there is no function {found[1]}"
        advice = "" if known else nearest(found[1], FUNCTIONS)
        raise ValueError(f"{key}={value}: {reason}{advice} (a text with brackets is written '{key}=\"{value}\"')")
    text = quoted(value)
    if not is_readable(f"{key}={text}"):
        raise ValueError(f"{key}={value} cannot be read; write the value in quotes: '{key}=\"...\"'")
    return text
