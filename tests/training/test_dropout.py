"""Dropout from random bytes is dropout; attention made for CPUs is attention."""

from __future__ import annotations

import pytest
import tiny_base as tiny
import torch
from torch import nn

from training.bert import torch_model
from training.dropout import Dropout, dropped, quicken


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_kept(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = dropped(torch.ones(300, 1001, dtype=dtype), p).float()
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.004)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    assert len(found.unique()) == 2


def test_gradients_flow_where_values_were_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 50, requires_grad=True)
    found = dropped(x, 0.3)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, found == 0)
    assert torch.allclose(x.grad * x, found)


def test_a_seed_gives_the_same_masks_again() -> None:
    x = torch.ones(64, 64)
    torch.manual_seed(3)
    first, second = dropped(x, 0.2), dropped(x, 0.2)
    torch.manual_seed(3)
    assert torch.equal(dropped(x, 0.2), first)
    assert torch.equal(dropped(x, 0.2), second)
    assert not torch.equal(first, second)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (dropped(torch.ones(1000, 1000), 0.5) > 0).float() - 0.5
    for shift in (1, 2, 4, 8, 1000):
        flat = kept.flatten()
        assert abs(float((flat[shift:] * flat[:-shift]).mean())) < 0.002


@pytest.mark.parametrize("p", [0.0, 0.001, 1.0])
def test_rates_that_bytes_cannot_tell(p: float) -> None:
    torch.manual_seed(0)
    share = float((dropped(torch.ones(1000, 1000), p) == 0).float().mean())
    assert share == pytest.approx(p, abs=3e-4)


def test_a_quickened_model_computes_and_learns_the_same() -> None:
    torch.manual_seed(0)
    ids = torch.randint(4, len(tiny.PIECES), (5, 12))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    gradients, states = [], []
    for quick in (False, True):
        model = torch_model(tiny.weights(), dropout=0.0)
        if quick:
            quicken(model)
        model.train()
        state = model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = state[mask.bool()]
        kept.square().sum().backward()
        states.append(kept.detach())
        found = model.encoder.layer[0].attention.self.query.weight.grad
        assert found is not None
        gradients.append(found)
    assert torch.allclose(states[0], states[1], atol=1e-5)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_every_dropout_is_replaced_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    model = torch_model(tiny.weights(), dropout=0.5)
    before = model(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state
    quicken(model)
    assert not [m for m in model.modules() if type(m) is nn.Dropout]
    assert torch.allclose(
        model(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state, before, atol=1e-5
    )
    model.train()
    assert not torch.allclose(
        model(input_ids=torch.tensor([[5, 6, 7]])).last_hidden_state, before, atol=1e-2
    )
    assert [m for m in model.modules() if isinstance(m, Dropout)]
