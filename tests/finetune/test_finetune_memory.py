"""What a training will hold, before it starts: refused only where it cannot fit, with what would."""

from __future__ import annotations

import pytest
import torch
from tiny_training import stage_config

from selectit.config import FinetuneConfig
from selectit.errors import UserError
from selectit.finetune.memory import GIB, Room, check_memory, largest_pass
from selectit.finetune.sampler import StepOrder
from selectit.inference.load import load_model
from selectit.inference.shape import shape_from_config
from selectit.inference.training_memory import training_memory

LLAMA_2_7B = shape_from_config(
    {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "x",
)  # fmt: skip
SHARDED = {"launcher": "torchrun", "num_processes": 4, "method": "full"}


def gib(settings: dict, positions: int = 0) -> float:
    return training_memory(LLAMA_2_7B, FinetuneConfig(**settings), 2, positions, on_gpu=True).expected / GIB


@pytest.mark.parametrize(
    ("settings", "counted"),
    [
        ({"method": "full"}, 16 * 6.738e9 / GIB),  # float32 weights, gradients, two moments
        ({"method": "lora"}, (2 * 6.738e9 + 16 * 39.98e6) / GIB),
        ({**SHARDED, "deepspeed": "zero2"}, (2 * 6.738e9 + 14 * 6.738e9 / 4) / GIB),
        ({**SHARDED, "deepspeed": "zero3"}, 16 * 6.738e9 / 4 / GIB),
        ({**SHARDED, "deepspeed": "zero2_offload"}, 2 * 6.738e9 / GIB),
        ({**SHARDED, "deepspeed": "zero3_offload"}, 0),
    ],
)
def test_weights_gradients_and_optimizer_are_counted_by_method_and_share(settings, counted):
    assert gib(settings) == pytest.approx(counted, rel=1e-3, abs=1e-9)


def test_a_base_of_4_bits_is_a_quarter_but_for_embeddings():
    assert 3.6 < gib({"method": "qlora"}) < 4.2


def test_checkpointing_and_shorter_passes_lower_the_activations():
    plain, saved = ({"gradient_checkpointing": on} for on in (False, True))
    assert gib(plain, 8192) > gib(saved, 8192) > gib(saved, 4096) > gib(saved)


def test_the_count_of_a_tiny_model_is_that_of_its_tensors(tiny_llama):
    from selectit.inference.shape import shape_of

    config = stage_config(tiny_llama, method="full")
    memory = training_memory(shape_of(config.model), config.finetune, 4, 0, on_gpu=False)
    model = load_model(config.model)
    assert memory.weights == sum(p.numel() * p.element_size() for p in model.parameters())
    model(input_ids=torch.arange(3, 40)[None]).logits.sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    assert memory.gradients == sum(p.grad.numel() * 4 for p in model.parameters())
    moments = sum(t.numel() * 4 for s in optimizer.state.values() for name, t in s.items() if name != "step")
    assert memory.optimizer == moments


def test_what_cannot_fit_is_refused_with_what_would(tiny_llama):
    config = stage_config(tiny_llama, method="full", gradient_checkpointing=False)
    # weights, gradients and moments of 30 thousand parameters are 16 bytes each
    with pytest.raises(UserError, match=r"does not fit: .*What would fit: finetune.method lora, .*checkpointing true"):
        check_memory(config, Room(300_000, 300_000))
    with pytest.raises(UserError, match=r"does not fit: .*No other setting fits either"):
        check_memory(config, Room(1, 1))


def test_what_may_not_fit_is_noted_on_a_gpu_and_what_fits_is_not(tiny_llama, monkeypatch):
    config = stage_config(tiny_llama)
    roomy = check_memory(config, Room(GIB, GIB), positions=500)
    assert roomy is None
    from selectit.inference.shape import shape_of

    memory = training_memory(shape_of(config.model), config.finetune, 4, 500, on_gpu=False)
    between = (memory.least + memory.expected) / 2
    with pytest.raises(UserError, match="does not fit"):  # on a CPU the estimate is measured, and decides
        check_memory(config, Room(between, between), positions=500)
    memory = training_memory(shape_of(config.model), config.finetune, 2, 500, on_gpu=True)
    between = (memory.least + memory.expected) / 2
    monkeypatch.setattr("selectit.finetune.memory.device", lambda: torch.device("cuda"))
    note = check_memory(config, Room(between, between), positions=500)
    assert note is not None and "memory may not suffice" in note


def test_the_largest_pass_counts_padding_unless_rows_are_packed():
    lengths = [10, 2, 2, 2]
    assert largest_pass(StepOrder(lengths, 4, 2, 0), packing=False) == 20
    assert largest_pass(StepOrder(lengths, 4, 2, 0, packing=True), packing=True) == 10


def test_a_training_that_cannot_fit_stops_before_its_first_step(train_tiny, monkeypatch):
    monkeypatch.setattr("selectit.finetune.train.room_now", lambda: Room(1, 1))
    with pytest.raises(UserError, match="this training does not fit"):
        train_tiny("out")


SAVED = {"hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 4, "vocab_size": 300}


@pytest.mark.parametrize(
    ("settings", "heads_of_keys"),
    [
        ({"method": "lora"}, 4),
        ({"method": "lora", "lora": {"dropout": 0.0}}, 4),
        ({"method": "lora", "lora": {"target_modules": ["q_proj", "v_proj"]}}, 2),
        ({"method": "full"}, 2),
    ],
)
def test_what_a_block_keeps_is_what_autograd_saves(settings, heads_of_keys):
    """Bytes of one block, by the difference of a model of three and one of two."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from selectit.config import FinetuneStage, ModelConfig
    from selectit.finetune.arguments import lora_config

    finetune = FinetuneConfig(gradient_checkpointing=False, **settings)
    size, length, found = 2, 64, []
    for num_layers in (2, 3):
        shape = {**SAVED, "num_hidden_layers": num_layers, "num_key_value_heads": heads_of_keys}
        model = LlamaForCausalLM(LlamaConfig(**shape)).train()
        backbone = model.model
        if finetune.trains_adapter:
            from peft import get_peft_model

            stage = FinetuneStage(model=ModelConfig(path="random"), finetune=finetune, seed=0)
            model = get_peft_model(model, lora_config(stage, model))
            model.enable_input_require_grads()
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor, kept=kept, parameters=parameters):
            if (place := tensor.untyped_storage().data_ptr()) not in parameters:
                kept[place] = tensor  # held, so that no other takes its place
            return tensor

        mask = torch.ones(size, length, dtype=torch.long)
        mask[0, :3] = 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone(input_ids=torch.randint(3, 300, (size, length)), attention_mask=mask, use_cache=False)
        found.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
    shape = shape_from_config(
        {"model_type": "llama", **SAVED, "num_hidden_layers": 1, "num_key_value_heads": heads_of_keys}, "x"
    )
    counted = training_memory(
        shape, finetune.model_copy(update={"micro_batch_size": size}), 4, size * length, on_gpu=False
    )
    # a number for each head and row of attention and each norm is left to the margin
    assert 0.99 < counted.least_activations / (found[1] - found[0]) < 1.1
