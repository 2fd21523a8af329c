"""Optimizers update all parameters together, with the bits of torch's loop over them."""

import copy

import pytest
import torch
from torch import nn

from odkd.config.parts_student import GROUPED, grouped


@pytest.mark.parametrize("kind", GROUPED)
def test_an_optimizer_that_updates_all_parameters_together_changes_no_bit(kind: type[torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 9))
    twin = copy.deepcopy(network)
    more = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    plain = kind(network.parameters(), lr=1e-2, weight_decay=1e-2, **more)  # type: ignore[call-arg]
    together = grouped(kind(twin.parameters(), lr=1e-2, weight_decay=1e-2, **more))  # type: ignore[call-arg]
    assert [group["foreach"] for group in together.param_groups] == [True]
    for _ in range(5):
        for a, b in zip(network.parameters(), twin.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        plain.step()
        together.step()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


def test_what_a_user_asks_of_an_optimizer_counts() -> None:
    fused = grouped(torch.optim.Adam(nn.Linear(2, 2).parameters(), fused=True))
    looped = grouped(torch.optim.SGD(nn.Linear(2, 2).parameters(), foreach=False))
    assert [fused.param_groups[0]["foreach"], looped.param_groups[0]["foreach"]] == [None, False]
