"""Parts of a run: what they are built from and how they are set up."""

from pathlib import Path

import pytest
import torch
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from odkd.config.compose import compose_config
from odkd.config.parts import Parts


def test_any_scheduler_of_torch_can_be_a_schedule(cache: Path, tmp_path: Path) -> None:
    def rates(*overrides: str) -> list[float]:
        shared = ["debug=smoke", "stage=distill", "stage.epochs=4", f"paths.outputs={tmp_path}", f"paths.cache={cache}"]
        parts = Parts(compose_config([*shared, *overrides]))
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = parts.schedule(optimizer, 4)
        found = []
        for _ in range(4):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    assert rates() == [1, 1, 1, 1]
    assert rates("schedule=multistep", "schedule.milestones=[1,3]") == pytest.approx([1, 0.1, 0.1, 0.01])
    longer = ["stage.epochs=2", "schedule=multistep", "schedule.milestones=[1]"]
    assert rates(*longer) == pytest.approx(
        [1, 1, 0.1, 0.1]
    )  # this training has 4 epochs, the stage 2: milestones scale
    target = "schedule._target_=torch.optim.lr_scheduler.ExponentialLR"
    assert rates("schedule=multistep", target, "~schedule.milestones", "schedule.gamma=0.5") == [1, 0.5, 0.25, 0.125]
    with pytest.raises(ValueError, match="takes no milestones"):
        rates("schedule=multistep", target)
    with pytest.raises((ValueError, OmegaConfBaseException)):
        rates("schedule._target_=os.system")
