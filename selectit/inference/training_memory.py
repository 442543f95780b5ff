"""What one training process holds in memory, counted from a model's shape and the settings.

Used by `plan --price` and by a training before it starts; imports nothing heavy. Bytes throughout. On a CPU it is
tested against processes (benchmarks/training_memory.py); on a GPU it is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from selectit.config import FinetuneConfig
from selectit.inference.shape import Shape

BLOCK_OF_8_BITS = 256
"""Weights that share a scale in the states of Adam in 8 bits."""
ADAFACTOR_SHARE = 1 / 256
"""Rows and columns of a matrix of 512 x 512 to its elements; of a larger one less."""
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Of a weight: its 4, and the doubly quantised scale of its block of 64. QLoRA (arXiv 2305.14314), section 3."""
HEAD_POSITIONS, HEAD_VOCABULARY = 4096, 32768
"""A tile of logits, in which TRL's head works (trl.kernels.chunked_logprob)."""
HEAD_TILES_ON_CPU = 8.5
"""Copies of a tile that its torch operations hold at a time, measured; the kernel of a GPU writes into one."""
MARGIN = 1.05
LIBRARIES_BYTES = 36 * 2**20
"""Beyond what is counted, in any training on a CPU: measured 29 MiB with the smallest model."""


@dataclass(frozen=True)
class TrainingMemory:
    """Of one process: on its device, and what is offloaded to its node."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    """At their peak, with a margin."""
    least_activations: float
    """Those that stay until the backward pass."""
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


def training_memory(
    shape: Shape, finetune: FinetuneConfig, width: int, positions: float, on_gpu: bool
) -> TrainingMemory:
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
    # ZeRO also keeps a float32 copy of what is trained
    optimizer = trained * (12 if sharded else optimizer_bytes(finetune)) / share
    offloaded = 0.0
    if offloads:
        offloaded, gradients, optimizer = gradients + optimizer, 0.0, 0.0
        if shares_weights:
            offloaded, weights = offloaded + weights, 0.0
    kept, activations = _activations(shape, finetune, width, positions, on_gpu) if positions else (0.0, 0.0)
    return TrainingMemory(weights, gradients, optimizer, activations, kept, offloaded)


def _activations(
    shape: Shape, finetune: FinetuneConfig, width: int, positions: float, on_gpu: bool
) -> tuple[float, float]:
    """What every block keeps for its backward pass, and that with the largest of what is there for a moment."""
    hidden, query, inner = shape.hidden_size, shape.linears["q_proj"][0], shape.linears["gate_proj"][0]
    block = positions * _bytes_per_position(shape, finetune, width, on_gpu)
    row = positions if finetune.packing else positions / finetune.micro_batch_size
    mask = positions * row * width  # of attention; its queries and keys in tiles
    moment = positions * (4 * inner + 2 * hidden + query) * width  # gradients within a block
    tile = min(positions, HEAD_POSITIONS) * (HEAD_VOCABULARY if on_gpu else min(shape.vocab_size, HEAD_VOCABULARY)) * 4
    head = tile * (1 if on_gpu else HEAD_TILES_ON_CPU) + 4 * positions * hidden * width
    if finetune.gradient_checkpointing:
        kept = shape.num_layers * positions * hidden * width + mask
        most = kept + max(head, block + moment)
    else:
        kept = shape.num_layers * (block + mask)
        most = kept + max(head, moment)
    if width == 2 and not finetune.trains_adapter and finetune.deepspeed == "none":
        most += 2 * shape.num_parameters  # autocast's copies of float32 weights
    return kept, MARGIN * most + (0 if on_gpu else LIBRARIES_BYTES)


def _bytes_per_position(shape: Shape, finetune: FinetuneConfig, width: int, on_gpu: bool) -> float:
    """Of the tensors that autograd saves in one block, counted with saved_tensors_hooks.

    Inputs of the two norms (float32), queries, keys and values with a head for each query and their result, gate, its
    activation and up; and what linear layers keep to train themselves.
    """
    hidden, query, inner = shape.hidden_size, shape.linears["q_proj"][0], shape.linears["gate_proj"][0]
    always = 2 * hidden * 4 + (4 * query + 3 * inner) * width
    if not finetune.trains_adapter:
        return always + (2 * hidden + inner) * width + 2 * hidden * 4  # inputs, and what scales of norms multiply
    lora = finetune.lora
    names = shape.linears if lora.target_modules == "all-linear" else lora.target_modules
    targets = [shape.linears[name] for name in names if name in shape.linears]
    rank = lora.r * len(targets) * 4
    if lora.dropout == 0:
        inputs = {inside for _, inside in targets if inside != query or query == hidden}
        return always + rank + (sum(inputs) + hidden) * width
    # each target's own dropped-out input, and the mask: of bytes on a GPU, of numbers on a CPU; in float32, as the
    # adapter is, and with it a copy in half precision
    each = (5 if on_gpu else 8) if width == 4 else 7
    return always + rank + each * sum(inside for _, inside in targets)
