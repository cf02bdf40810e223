"""Two readings of a row shall say the same (R-Drop)."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_base as tiny
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

from assistant.errors import InvalidInputError
from assistant.models.heads import HeadSpec
from training.consistency import disagreement
from training.losses import SingleLabel
from training.modeling import TunedModel
from training.recipe import make_recipe

INTENT = HeadSpec("intent", "sequence", ("a", "b", "c"))
TOPICS = HeadSpec("topics", "sequence", ("x", "y"), activation="sigmoid")
TAGS = HeadSpec("tags", "token", ("O", "B-ORG", "I-ORG"))


def both_ways(one: Any, other: Any) -> torch.Tensor:
    return (kl_divergence(one, other) + kl_divergence(other, one)) / 2


def test_the_disagreement_is_the_mean_of_both_divergences() -> None:
    torch.manual_seed(3)
    mask = torch.ones(8, 5, dtype=torch.long)
    single = torch.randn(8, 3)
    expected = both_ways(Categorical(logits=single[:4]), Categorical(logits=single[4:])).mean()
    assert disagreement(single, mask, INTENT).item() == pytest.approx(expected.item(), abs=1e-6)
    several = torch.randn(8, 2)
    expected = both_ways(Bernoulli(logits=several[:4]), Bernoulli(logits=several[4:])).mean()
    assert disagreement(several, mask, TOPICS).item() == pytest.approx(expected.item(), abs=1e-6)


def test_padding_has_no_say() -> None:
    torch.manual_seed(4)
    logits = torch.randn(4, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]] * 2)
    before = disagreement(logits, mask, TAGS)
    logits[:, 3:] += 5 * torch.randn(4, 2, 3)
    assert disagreement(logits, mask, TAGS).item() == pytest.approx(before.item())
    logits[0, 0] += 3 * torch.randn(3)
    assert disagreement(logits, mask, TAGS).item() != pytest.approx(before.item())


def batch() -> dict[str, Any]:
    torch.manual_seed(5)
    ids = torch.randint(4, len(tiny.PIECES), (6, 7))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def model(consistency: float, dropout: float) -> TunedModel:
    torch.manual_seed(6)
    losses = {"intent": SingleLabel()}
    return TunedModel(
        tiny.weights(), [INTENT], losses=losses, dropout=dropout, consistency=consistency
    )


def test_without_dropout_both_readings_agree_and_the_loss_is_the_plain_one() -> None:
    plain, consistent = model(0.0, 0.0).train()(**batch()), model(4.0, 0.0).train()(**batch())
    assert consistent["loss"].item() == pytest.approx(plain["loss"].item(), abs=1e-5)
    assert consistent["logits"].shape == plain["logits"].shape == (6, 3)


def trained(own: TunedModel, steps: int) -> TunedModel:
    optimizer = torch.optim.AdamW(own.parameters(), lr=5e-3)
    torch.manual_seed(8)
    for _ in range(steps):
        optimizer.zero_grad()
        own(**batch())["loss"].backward()
        optimizer.step()
    return own


def apart(own: TunedModel) -> float:
    """The mean disagreement of 30 pairs of readings under dropout."""
    rows = batch()
    ids, mask = rows["input_ids"], rows["attention_mask"]
    torch.manual_seed(9)
    with torch.no_grad():
        logits = [own.logits(own.hidden_states(ids, mask), mask, "intent") for _ in range(60)]
    both = torch.cat([torch.cat(logits[::2]), torch.cat(logits[1::2])])
    return disagreement(both, torch.ones(len(both), 7), INTENT).item()


def test_what_is_known_is_said_alike_after_a_while() -> None:
    known = trained(model(0.0, 0.5).train(), 40)
    before = apart(known)
    known.consistency = 10.0
    assert apart(trained(known, 40)) < before / 2


def test_disagreement_is_paid_for_in_training_only() -> None:
    losses = []
    for weight in (1e-9, 10.0):
        own = trained(model(0.0, 0.5).train(), 10)
        own.consistency = weight
        torch.manual_seed(7)
        losses.append((own(**batch())["loss"].item(), own.eval()(**batch())["loss"].item()))
    assert losses[1][0] > losses[0][0] + 1e-2
    assert losses[1][1] == pytest.approx(losses[0][1])


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"task": "reader", "name": "r"}},
        {"tuning": {"method": "few_shot"}},
        {"distil": {"teacher": "registry:intent/x"}},
    ],
)
def test_where_it_has_no_use_it_is_refused(changes: dict[str, Any]) -> None:
    values = {"recipe": {"task": "classifier", "name": "c"}, "train": {"consistency": 1.0}}
    assert make_recipe(values, "here").train.consistency == 1.0
    with pytest.raises(InvalidInputError, match=r"train\.consistency is 1, which"):
        make_recipe({**values, **changes}, "here")
