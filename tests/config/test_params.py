"""Curated params: the key fields, and what differs from the default config."""

from odkd.config.compose import complete, compose_config
from odkd.config.params import GROUPS, KEY_FIELDS, curated_params


def test_params_are_what_differs_and_the_key_fields() -> None:
    choices = {"replay": "uniform", "regularizer": "none", "loss": "cross_entropy"}
    choices |= {"baseline": None, "teacher": "oracle", "updates": "all"}
    default = curated_params(complete(compose_config([])), choices | {"replay": "fifo"})
    assert set(default) == {*KEY_FIELDS, *GROUPS} - {"baseline"}
    changed = ["replay=uniform", "optimizer.lr=0.5", "run.restart=true", "tracking.uri=x", "paths.outputs=y", "seed=3"]
    params = curated_params(complete(compose_config(changed)), choices)
    assert {key: value for key, value in params.items() if default.get(key) != value} == {
        "replay": "uniform",
        "replay._target_": "odkd.training.replay.uniform.Uniform",
        "replay.capacity": "250",
        "optimizer.lr": "0.5",
        "seed": "3",
    }
