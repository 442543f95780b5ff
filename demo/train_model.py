"""Train the demonstration's tokenizer and model, on one CPU thread, from text that mixture.py makes.

Writes model/ next to this file: a LLaMA of 1.1 million parameters, stored in float16, and a LLaMA-2-like
tokenizer. From the project's root:
    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 python -m demo.train_model
"""

import argparse
import json
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from demo.make_data import make_files
from demo.mixture import Batch, Mixture

FOLDER = Path(__file__).parent / "model"
SEED = 0
VOCAB_SIZE = 2048
CONTEXT_TOKENS = 4096


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A BPE in LLaMA-2's manner: a space before the first word, single digits, bytes for what is unknown.

    Newlines are never seen in training, so that "\n" is a byte piece, as it is in LLaMA-2.
    """
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words = pre_tokenizers.Split(Regex(r"\n|\d|▁+(?=▁)|▁?\p{L}+|▁?[^\p{L}▁\n\d]+|▁"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "removed"), words])
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
        ),
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(piece, special=True) for piece in ("<unk>", "<s>", "</s>")])
    tokenizer.pre_tokenizer = words
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def new_model(vocab_size: int) -> LlamaForCausalLM:
    """A small LLaMA with tied embeddings."""
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_TOKENS,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for the matrices inside the layers.

    Learns from fewer tokens than AdamW. In float32, where torch.optim.Muon computes in bfloat16, which is
    very slow on many CPUs. Source: Jordan et al. 2024, with the coefficients published there.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for shape in sorted({tuple(matrix.shape) for matrix in group["params"]}):
                matrices = [matrix for matrix in group["params"] if matrix.shape == shape]
                updates = []
                for matrix in matrices:
                    velocity = self.state[matrix].setdefault("velocity", torch.zeros_like(matrix))
                    velocity.lerp_(matrix.grad, 1 - group["momentum"])
                    updates.append(matrix.grad.lerp(velocity, group["momentum"]))
                scale = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for matrix, update in zip(matrices, orthogonal(torch.stack(updates)), strict=True):
                    matrix.mul_(1 - 0.1 * group["lr"]).sub_(update, alpha=scale)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices [count, rows, columns] with all singular values moved near 1, by five Newton-Schulz steps."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


def encode(tokenizer: PreTrainedTokenizerBase, batch: Batch) -> tuple[torch.Tensor, ...]:
    """Token ids of the shared prefix and of the rest of each text, with the weight of every rest token.

    Returns: prefix [num_prefix], rest [num_texts, longest], weights [num_texts, longest], and
        lengths [num_texts]. Whole texts are tokenised, then cut where the first of them differs.
    """
    rows, row_weights = [], []
    for text in batch.texts:
        whole = batch.prefix + "".join(piece for piece, _ in text.pieces)
        encoded = tokenizer(whole, return_offsets_mapping=True)
        ends, end = [], len(batch.prefix)
        for piece, weight in text.pieces:
            end += len(piece)
            ends.append((end, weight))
        rows.append(encoded["input_ids"])
        row_weights.append(
            [
                next((w for end, w in ends if stop <= end), 0.0) if stop > len(batch.prefix) else 0.0
                for _, stop in encoded["offset_mapping"]
            ]
        )
    shared = 0
    while all(len(row) > shared + 1 and row[shared] == rows[0][shared] for row in rows):
        shared += 1
    if not batch.prefix:
        shared = 1
    lengths = torch.tensor([len(row) - shared for row in rows])
    longest = int(lengths.max())
    rest = torch.tensor([row[shared:] + [2] * (longest - len(row) + shared) for row in rows])
    weights = torch.tensor([row[shared:] + [0.0] * (longest - len(row) + shared) for row in row_weights])
    return torch.tensor(rows[0][:shared]), rest, weights, lengths


def batch_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, batch: Batch) -> tuple[torch.Tensor, int]:
    """Weighted mean loss of a batch and the number of tokens computed."""
    prefix, rest, weights, lengths = encode(tokenizer, batch)
    num_texts = len(rest)
    head = model(prefix[None], use_cache=True)
    cache = head.past_key_values
    cache.batch_repeat_interleave(num_texts)
    output = model(rest, past_key_values=cache, use_cache=True)
    logits = torch.cat([head.logits[:, -1:].expand(num_texts, -1, -1), output.logits], dim=1)  # [texts, 1 + rest, V]
    log_probs = logits.log_softmax(-1)
    losses = -log_probs[:, :-1].gather(-1, rest[..., None])[..., 0]
    total, mass = (losses * weights).sum(), weights.sum()
    if batch.texts[0].grades:
        digits = tokenizer.convert_tokens_to_ids(list("12345"))
        grades = torch.tensor([text.grades for text in batch.texts])
        graded = log_probs[torch.arange(num_texts), lengths][:, digits]
        total = total - (grades * graded).sum()
        mass = mass + num_texts
    return total / mass, prefix.numel() + rest.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration model.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the model")
    parser.add_argument("--steps", type=int, default=2600, help="optimiser steps")
    parser.add_argument("--batches", type=int, default=4, help="batches a step")
    parser.add_argument("--learning-rate", type=float, default=0.02, help="highest learning rate of the matrices")
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    _, reserved = make_files()
    mixture = Mixture(Random(SEED), reserved)
    sample = [batch for _, batch in islice(mixture.batches(), 1500)]
    tokenizer = train_tokenizer(
        [piece for batch in sample for text in batch.texts for piece, _ in text.pieces]
        + [batch.prefix for batch in sample if len(batch.prefix) < 1500]
    )
    tokenizer.save_pretrained(args.out)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    model = new_model(len(tokenizer))
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} pieces", flush=True)
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers" in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim == 1 or "layers" not in name]
    optimizers = [
        Muon(matrices, lr=args.learning_rate),
        torch.optim.AdamW(others, lr=args.learning_rate / 4, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / 50, (args.steps - step) / args.steps * 1.25, 1.0)
        )
        for optimizer in optimizers
    ]
    recent, num_tokens, batches = defaultdict(list), 0, mixture.batches()
    for step in range(args.steps):
        for kind, batch in islice(batches, args.batches):
            loss, size = batch_loss(model, tokenizer, batch)
            (loss / args.batches).backward()
            recent[kind].append(loss.item())
            num_tokens += size
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if (step + 1) % 100 == 0:
            means = " ".join(f"{kind} {sum(losses) / len(losses):.3f}" for kind, losses in sorted(recent.items()))
            print(
                f"step {step + 1}, {time.process_time() - started:.0f} s of CPU time, {num_tokens:,} tokens: {means}",
                flush=True,
            )
            recent.clear()
    model.to(torch.float16).save_pretrained(args.out)
    config = json.loads((args.out / "config.json").read_text())
    config["dtype"] = "float32"
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
