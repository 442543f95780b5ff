"""What one training process holds in memory, counted from a model's shape and the settings.

Used by `plan --price` and by a training before it starts; imports nothing heavy. Bytes throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from selectit.config import FinetuneConfig
from selectit.flops import Shape

BLOCK_OF_8_BITS = 256
"""Weights that share a scale in the states of Adam in 8 bits."""
ADAFACTOR_SHARE = 1 / 256
"""Rows and columns of a matrix of 512 x 512 to its elements; of a larger one less."""
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Of a weight: its 4, and the doubly quantised scale of its block of 64. QLoRA (arXiv 2305.14314), section 3."""
LEAST_TENSORS_KEPT = 6
"""Of a block without checkpointing, each positions x hidden: inputs of norms, queries, attention, MLP at the least."""


@dataclass(frozen=True)
class TrainingMemory:
    """Of one process: on its device, and what is offloaded to its node."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    least_activations: float
    offloaded: float

    @property
    def least(self) -> float:
        """Activations are freed while gradients appear, so the larger of the two; exact where nothing accumulates."""
        return self.weights + self.optimizer + max(self.gradients, self.least_activations)

    @property
    def expected(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def adapter_parameters(shape: Shape, finetune: FinetuneConfig) -> int:
    """With the modules that are saved whole; 0 where the whole model is trained."""
    lora = finetune.lora
    if not finetune.trains_adapter:
        return 0
    whole = sum(_module_parameters(shape, name) for name in lora.modules_to_save or ())
    return shape.lora_parameters(lora.r, lora.target_modules) + whole


def _module_parameters(shape: Shape, name: str) -> int:
    """Of all modules of this name: a linear layer of every block, else one of vocabulary x hidden, or norms."""
    if name in shape.linears:
        return shape.num_layers * prod(shape.linears[name])
    is_norm = "norm" in name
    return (2 * shape.num_layers + 1) * shape.hidden_size if is_norm else shape.vocab_size * shape.hidden_size


def optimizer_bytes(finetune: FinetuneConfig) -> float:
    """Of each trained weight; Adafactor's rows and columns are a thousandth of the weights or less."""
    return {"adamw": 8.0, "adamw_8bit": 2 * (1 + 4 / BLOCK_OF_8_BITS), "adafactor": 4 * ADAFACTOR_SHARE}[
        finetune.optimizer
    ]


def training_memory(shape: Shape, finetune: FinetuneConfig, width: int, positions: float) -> TrainingMemory:
    """Args:
    width: bytes of a number of `model.dtype`.
    positions: of the largest forward pass, padding included; 0 leaves activations out.
    """
    sharded, offloads = finetune.deepspeed != "none", finetune.deepspeed.endswith("offload")
    shares_weights = finetune.deepspeed.startswith("zero3")
    share = finetune.num_processes if sharded else 1
    trained = adapter_parameters(shape, finetune) or shape.num_parameters
    base = float(shape.num_parameters * width)
    if finetune.method == "qlora":
        linear = shape.num_layers * sum(map(prod, shape.linears.values()))
        base = linear * NF4_BITS / 8 + (shape.num_parameters - linear) * width
    adapter_width = 2 if finetune.method == "qlora" else width if sharded else 4
    if finetune.trains_adapter:
        weights, trained_width = base + trained * adapter_width, adapter_width
    else:
        trained_width = width if sharded else 4
        weights = float(shape.num_parameters * trained_width)
    weights /= share if shares_weights else 1
    gradients = trained * trained_width / share
    # Adam's two moments; ZeRO also keeps a float32 copy of what is trained
    optimizer = trained * (12 if sharded else optimizer_bytes(finetune)) / share
    offloaded = 0.0
    if offloads:
        offloaded, gradients, optimizer = gradients + optimizer, 0.0, 0.0
        if shares_weights:
            offloaded, weights = offloaded + weights, 0.0
    # 34 bytes per position and hidden unit within a block in 16 bits, one block's input for every other (Korthikanti
    # et al. 2022); the head works in tiles and keeps no logits
    blocks = (2 * shape.num_layers + 34) if finetune.gradient_checkpointing else 34 * shape.num_layers
    least_blocks = shape.num_layers * (1 if finetune.gradient_checkpointing else LEAST_TENSORS_KEPT)
    unit = positions * shape.hidden_size * width
    return TrainingMemory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=unit * blocks / 2,
        least_activations=unit * least_blocks,
        offloaded=offloaded,
    )
