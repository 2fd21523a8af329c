"""A text becomes the value of an override, and a word of a shell command, exactly as it is."""

import shlex

import pytest

from odkd.common.dotted import command, setting
from odkd.config.compose import compose_table_config

TEXTS = [
    *(
        "a b",
        "a,b",
        "[a]",
        "{a: b}",
        "sqrt(2)",
        "it's",
        '"',
        "'\"",
        "a\\",
        "\\'",
        'a\\"',
        "#x",
        "=",
        "a=b",
        "ä",
        "a\nb",
    ),
    *("$", "$x", "${a", "${a}", "a\\${b}", "a\\\\${b}", "${oc.env:HOME}/net.onnx", "\\${a}\\", "'${a}'"),
    *("1", "1e-4", "null", "true", "$(touch x)", "`touch x`", "; touch x", "x' ; touch x; '"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_the_value_of_an_override_as_it_is(text: str) -> None:
    word = setting("dataset.root", text)
    assert str(compose_table_config([word]).dataset.root) == text
    assert shlex.split(command(word)) == ["odkd", word]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_in_lists_and_tables_are_what_they_were(text: str) -> None:
    words = [setting("dataset.classes", [text, "car"]), setting("+dataset.domains", {"a": text, "b": "day"})]
    dataset = compose_table_config(words).dataset
    assert list(dataset.classes) == [text, "car"]
    assert dataset.domains.a == text


@pytest.mark.parametrize("name", ["a: b", "1-town", "a,b", "{a}", "a[b]", "$(touch x)"])
def test_a_name_is_the_key_of_a_table_as_it_is(name: str) -> None:
    words = shlex.split(command(setting("+dataset.order.skip_minutes", {name: 0.5})))
    assert dict(compose_table_config(words[1:]).dataset.order.skip_minutes) == {name: 0.5}


@pytest.mark.parametrize("name", ["; touch x", "x' ; touch x; '", 'a"b', "ä"])
def test_a_name_that_no_command_can_have_as_a_key_stays_one_word_and_is_refused(name: str) -> None:
    words = shlex.split(command(setting("+dataset.order.skip_minutes", {name: 0.5})))
    assert len(words) == 2
    with pytest.raises(ValueError, match="cannot be given in a command"):
        compose_table_config(words[1:])
