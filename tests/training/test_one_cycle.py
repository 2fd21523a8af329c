"""The one-cycle learning rate, by epoch."""

import pytest
import torch
from torch import nn

from odkd.training.one_cycle import one_cycle


def rates(num_epochs: int, *, warmup_share: float = 0.3, num_steps: int | None = None) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = one_cycle(optimizer, num_epochs, warmup_share=warmup_share, first_factor=0.04, last_factor=4e-6)
    found = []
    for _ in range(num_steps or num_epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_to_the_optimizers_and_falls_to_almost_nothing() -> None:
    found = rates(24)
    highest = found.index(max(found))
    assert highest == 7  # its middle is the first after 0.3 of 24 epochs
    assert found[: highest + 1] == sorted(found[: highest + 1])
    assert found[highest:] == sorted(found[highest:], reverse=True)
    assert found[0] == pytest.approx(2 * (0.04 + 0.96 * (1 - torch.cos(torch.tensor(torch.pi * 0.5 / 7.2)).item()) / 2))
    assert 1.9 < max(found) <= 2.0
    assert found[-1] < 0.01


def test_epochs_after_the_cycle_keep_the_lowest_rate() -> None:
    assert rates(2, num_steps=4)[2:] == pytest.approx([8e-6, 8e-6])


@pytest.mark.parametrize("warmup_share", [0.0, 1.0])
def test_a_cycle_may_only_fall_or_only_rise(warmup_share: float) -> None:
    found = rates(5, warmup_share=warmup_share)
    assert found == sorted(found, reverse=warmup_share == 0)
