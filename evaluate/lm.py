"""The language model that lm-eval asks: a checkpoint, with or without an adapter, loaded once for all benchmarks.

Reads the base model and the `adapter/` or `model/` folder of a finetune artifact.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.evaluate.harness import quiet
from selectit.evaluate.sampling import Draws
from selectit.models import load_model, load_tokenizer
from selectit.templates import chat_template

_GUARD_PROMPT = "Below is an instruction that describes a task. Write a response"


class EvaluatedLM(HFLM):
    """lm-eval's Hugging Face model with four repairs.

    Decoding keeps the space that LLaMA tokenizers drop at the start of a text, without which every indented
    HumanEval completion is a syntax error; prompts that lose their beginning are counted; generation follows
    the profile alone, whatever settings a checkpoint brings along; samples do not depend on the batch size.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        self.truncated_prompts: set[str] = set()
        self._own_template = tokenizer.chat_template
        self._anchor = self.tok_encode("a", add_special_tokens=False)
        self._draws = Draws(seed=0)
        own: Any = model.generation_config
        clean: Any = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=self.tokenizer.pad_token_id
        )
        model.generation_config = clean
        if isinstance(model, PeftModel):
            model.get_base_model().generation_config = clean

    def use(self, template: str | None, batch_size: int, seed: int) -> None:
        """Set up for one benchmark: the training template by name or None, no draws and no cut prompts yet."""
        self.batch_size_per_gpu = batch_size
        self._draws = Draws(seed)
        self.truncated_prompts = set()
        self.tokenizer.chat_template = self._own_template
        if template is not None:
            self.tokenizer.chat_template = chat_template(template, self.tokenizer)

    def describe(self) -> dict[str, Any]:
        return {
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "adapter": isinstance(self.model, PeftModel),
            "num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "context_tokens": self.max_length,
        }

    def tok_decode(self, tokens: int | list[int], skip_special_tokens: bool = True) -> str:
        ids = [tokens] if isinstance(tokens, int) else list(tokens)
        text = self.tokenizer.decode(self._anchor + ids, skip_special_tokens=skip_special_tokens)
        return text[len(self.tokenizer.decode(self._anchor)) :]

    def tok_batch_encode(
        self, strings: list[str], padding_side: str = "left", left_truncate_len: int | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = super().tok_batch_encode(strings, padding_side, left_truncate_len, **kwargs)
        if left_truncate_len is not None and ids.shape[1] == left_truncate_len:
            self.truncated_prompts.update(text for text in strings if len(self.tok_encode(text)) > left_truncate_len)
        return ids, mask

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        room = self.max_length + 1  # the last token is only scored
        self.truncated_prompts.update(
            texts[0] for texts, context, continuation in requests if len(context) + len(continuation) > room
        )
        return super()._loglikelihood_tokens(requests, **kwargs)

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        if settings.get("do_sample"):
            prompts = [ids[mask.bool()].tolist() for ids, mask in zip(context, settings["attention_mask"], strict=True)]
            temperature, top_p = settings.pop("temperature"), settings.pop("top_p")
            processors = self._draws.processors(prompts, temperature, top_p, context.device)
            settings |= {"do_sample": False, "logits_processor": processors}
        return super()._model_generate(context, max_length, stop, **settings)


@dataclass(frozen=True)
class Weights:
    """What stands on top of, or in place of, the base model."""

    adapter: str | None = None
    """Folder or hub id of a PEFT adapter."""
    checkpoint: str | None = None
    """Folder of a whole model with its tokenizer."""
    last_change: int = 0
    """Newest file in nanoseconds: the same folder with other weights is another model."""


def find_weights(finetuned: Path | None, adapter: str | None) -> Weights:
    """Args:   finetuned: a finetune artifact with `adapter/` or `model/`; adapter: one from elsewhere.
    Raises: UserError where an artifact holds neither.
    """
    if finetuned is None:
        return Weights(adapter=adapter, last_change=_last_change(Path(adapter)) if adapter else 0)
    if (finetuned / "adapter" / "adapter_config.json").is_file():
        return Weights(adapter=str(finetuned / "adapter"), last_change=_last_change(finetuned / "adapter"))
    if (finetuned / "model" / "config.json").is_file():
        return Weights(checkpoint=str(finetuned / "model"), last_change=_last_change(finetuned / "model"))
    raise UserError(
        f"{finetuned} holds neither adapter/adapter_config.json nor model/config.json; run its fine-tuning again"
    )


def _last_change(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()), default=0)


_loaded: tuple[Any, EvaluatedLM] | None = None


def load_lm(model: ModelConfig, weights: Weights, batch_size: int) -> EvaluatedLM:
    """The model of one arm; asked for again with the same arguments, the same object.

    Raises: UserError where a checkpoint is absent or damaged, or where an adapter changes nothing.
    """
    global _loaded
    if _loaded is None or _loaded[0] != (model, weights):
        forget_lm()
        with quiet():
            _loaded = ((model, weights), _load(model, weights, batch_size))
    return _loaded[1]


def forget_lm() -> None:
    """Give the memory of the loaded model back."""
    global _loaded
    if _loaded is not None:
        _loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _load(model: ModelConfig, weights: Weights, batch_size: int) -> EvaluatedLM:
    if weights.checkpoint is not None:
        model = model.model_copy(update={"path": weights.checkpoint, "revision": None})
    tokenizer = load_tokenizer(model)
    if weights.adapter is None:
        return EvaluatedLM(load_model(model), tokenizer, batch_size)
    return EvaluatedLM(_with_adapter(load_model(model), weights.adapter, model.path, tokenizer), tokenizer, batch_size)


def _with_adapter(base: PreTrainedModel, adapter: str, base_name: str, tokenizer: PreTrainedTokenizerBase) -> PeftModel:
    try:
        adapted = PeftModel.from_pretrained(base, adapter).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"the adapter {adapter} does not fit on {base_name}: {str(error).splitlines()[0]}") from error
    ids = tokenizer(_GUARD_PROMPT, return_tensors="pt").input_ids.to(adapted.device)
    with torch.no_grad():
        after = adapted(ids).logits
        with adapted.disable_adapter():
            before = adapted(ids).logits
    if torch.equal(before, after):
        raise UserError(
            f"the adapter {adapter} changes nothing: the logits of {base_name} are the same with and without it. "
            "It was never trained, or its weights were not saved; run its fine-tuning again."
        )
    return adapted
