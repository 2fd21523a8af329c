"""Settings that are typed and that the stage does not use."""

import pytest

from odkd.config.unused import unused_words

MCKD, ONLINE = (
    ("stream", "learner", "evaluator", "run", "seed"),
    ("stream", "window", "learner", "replay", "run", "seed"),
)


def test_settings_without_effect_are_named() -> None:
    words = ["experiment=mckd/synthetic", "replay=mir", "replay.capacity=9", "optimizer.lr=1e-3", "seed=1"]
    assert list(unused_words(words, MCKD, "mckd")) == [
        "replay=mir replay.capacity=9 has no effect: stage=mckd uses no replay"
    ]
    assert list(unused_words(["student=tinynet", "dataset.stride=2"], ["labels", "run"], "label")) == [
        "student=tinynet has no effect: stage=label uses no student"
    ]
    assert list(unused_words([*words, "window.learn=9", "baseline=frozen"], ONLINE, "online")) == []


def test_a_baseline_of_a_stage_without_replay_is_a_mistake() -> None:
    with pytest.raises(
        ValueError, match=r"^baseline=frozen is for a stream, and stage=mckd has none; choose stage=online"
    ):
        list(unused_words(["baseline=frozen"], MCKD, "mckd"))
    assert list(unused_words(["baseline=null"], MCKD, "mckd")) == []
