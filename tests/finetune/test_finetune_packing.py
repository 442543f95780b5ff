"""Packed rows: the same steps, losses and gradients as rows one at a time, without padding."""

from __future__ import annotations

import pytest
import torch
from tiny_training import logged, stage_config
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from selectit.data.conversations import read_conversations
from selectit.errors import UserError
from selectit.finetune.dataset import tokenize
from selectit.finetune.packing import refuse_leaks
from selectit.finetune.sampler import StepOrder
from selectit.finetune.trainer import ROW_INDEX, RowCollator
from selectit.inference.load import load_tokenizer
from selectit.templates.form import load_form

LENGTHS = [5 + (7 * i) % 31 for i in range(53)]
NO_DROPOUT = {"dropout": 0.0}


def gradients(model, batches) -> tuple[float, list[torch.Tensor]]:
    """Summed loss of some batches, and its gradients."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        inputs = {name: value for name, value in batch.items() if name not in ("labels", ROW_INDEX)}
        logits = model(**inputs, use_cache=False).logits  # as TRL calls it; with a cache transformers sees no packing
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], batch["labels"][0, 1:], reduction="sum")
        loss.backward()
        total += loss.item()
    return total, [p.grad.clone() for p in model.parameters()]


def test_packed_rows_have_the_loss_and_the_gradients_of_rows_one_at_a_time(tiny_llama, subset):
    config = stage_config(tiny_llama)
    conversations = read_conversations(subset / "messages.jsonl", config.finetune.template)
    rows = tokenize(
        conversations, load_form(config.finetune.template, load_tokenizer(config.model)), config.finetune
    ).rows
    examples = [{"input_ids": r.input_ids, "labels": r.labels, ROW_INDEX: i} for i, r in enumerate(rows)]
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 4  # of an untrained model attention hardly depends on position; here rows that see others show
    collate = RowCollator(0, padding_free=True)
    loss, found = gradients(model, [collate(examples)])
    one_loss, wanted = gradients(model, [RowCollator(0)([example]) for example in examples])
    assert loss == pytest.approx(one_loss, rel=1e-6)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).abs().max() <= 1e-5 * max(1.0, b.abs().max().item())

    refuse_leaks(model, rows)

    leaking = {**collate(examples)}
    del leaking["position_ids"]
    assert gradients(model, [leaking])[0] != pytest.approx(one_loss, rel=1e-3), "the test would see a leak"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_packing_changes_no_step_without_dropout(method, train_tiny):
    settings = {"method": method, "global_batch_size": 8, "lora": NO_DROPOUT}
    one = train_tiny("one", micro_batch_size=1, **settings)
    packed = train_tiny("packed", micro_batch_size=4, packing=True, **settings)
    for name in ("train/loss", "train/grad_norm"):
        assert logged(packed, name) == pytest.approx(logged(one, name), rel=1e-5), name
    assert logged(packed, "train/tokens") == logged(one, "train/tokens")


def test_a_model_whose_packed_rows_see_each_other_is_refused(tiny_llama, train_tiny, monkeypatch):
    forward = LlamaForCausalLM.forward

    def without_positions(self, *args, position_ids=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", without_positions)
    with pytest.raises(UserError, match=r"there is cross-example attention in LlamaForCausalLM with sdpa attention"):
        train_tiny("out", packing=True)


def test_packed_passes_are_even_in_tokens_and_hold_the_rows_of_the_same_steps():
    plain, packed = (StepOrder(LENGTHS, 16, 4, 3, packing) for packing in (False, True))
    for without, step in zip(plain.passes(1), packed.passes(1), strict=True):
        assert sorted(row for rows in step for row in rows) == sorted(row for rows in without for row in rows)
        assert len(step) == len(without), "accumulation stays what it was"
        loads = [sum(LENGTHS[row] for row in rows) for rows in step]
        assert max(loads) - min(loads) <= max(LENGTHS)
        padded = [len(rows) * max(LENGTHS[row] for row in rows) for rows in without]
        assert max(loads) < max(padded)
