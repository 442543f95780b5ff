"""The language model that lm-eval asks: a checkpoint, with or without an adapter, loaded once for all benchmarks.

Reads the base model and the `adapter/` or `model/` folder of a finetune artifact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selectit.evaluate.model.answers import Answers
from selectit.evaluate.model.conversation import rendered
from selectit.evaluate.model.ends import end_token_ids, split_stops
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference.answerer import Answerer
from selectit.inference.batch import Batch
from selectit.inference.load import (
    num_embeddings,
    refuse_ids_beyond_embedding,
)
from selectit.inference.request_batches import ByPrefix, limits, plan
from selectit.inference.requests import (
    Answer,
    Ending,
    FirstTokens,
    Generation,
    GenerationSettings,
    Ids,
    Likelihood,
    Request,
)
from selectit.inference.workers import ModelWorkers, processes_for
from selectit.templates import chat_template, default_template

IF_KILLED = (
    "an evaluation process was killed, most likely for memory; what is answered is kept. "
    "Run again with evaluate.num_processes=1 or a smaller evaluate.batch_size."
)


class EvaluatedLM(HFLM):
    """lm-eval's Hugging Face model, asked its way and answering in ours.

    Decoding keeps the space that LLaMA tokenizers drop at the start of a text, without which every indented
    HumanEval completion is a syntax error; prompts that lose their beginning are counted; generation follows
    the profile alone, whatever settings a checkpoint brings along. Token ids are those of lm-eval; what is computed
    from them is `Answerer`'s: shared prefixes once, equal requests once, several processes, answers kept on disk.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        load_again: Callable[[int], Callable[[Batch[Request]], list[Answer]]] | None = None,
        ends: Sequence[int] = (),
    ) -> None:
        """Args:
        load_again: what the process of GPU n answers with, from its own copy; None: there is one process.
        ends: ids that end an answer, in addition to those of the model and its tokenizer.
        """
        super().__init__(pretrained=model, tokenizer=tokenizer)
        self.truncated_prompts: set[str] = set()
        self.endings: dict[str, list[tuple[str, Ending]]] = {}
        """Of each prompt the texts that were generated for it, and how each ended."""
        self.num_tokens = 0
        self._own_template = tokenizer.chat_template
        self._appended = _appended(tokenizer)
        self._anchor = self.tok_encode("a", add_special_tokens=False)
        own: Any = model.generation_config
        listed = [own.eos_token_id] if isinstance(own.eos_token_id, int) else own.eos_token_id or ()
        self._saved_ends = [*listed, *ends]
        self._ends = self._find_ends()
        clean: Any = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=self.tokenizer.pad_token_id
        )
        model.generation_config = clean
        if isinstance(model, PeftModel):
            model.get_base_model().generation_config = clean
        self.answerer = Answerer(model, self.tokenizer, self.tok_decode)
        self._workers: ModelWorkers[Batch[Request], list[Answer]] = ModelWorkers(
            self.device, lambda batch: self.answerer.answer(batch), load_again, lambda: self.model.to("cpu"), IF_KILLED
        )
        self._answers: Answers | None = None
        self._batch_size: int | None = None
        self._num_processes: int | None = None
        self._seed = 0

    def use(self, config: EvaluateStage, template: str | None, out: Path) -> None:
        """Set up for one benchmark: nothing asked yet but what answers.jsonl in `out` holds.

        Args:   template: the training template by name, or None.
        Raises: UserError where the tokenizer is not the model's.
        """
        refuse_ids_beyond_embedding(self.tokenizer, self.model)
        self._batch_size, self._seed = config.batch_size, config.seed
        self._num_processes = 1 if config.model.device_map == "auto" else config.num_processes
        self.truncated_prompts, self.endings, self.num_tokens = set(), {}, 0
        self.tokenizer.chat_template = self._own_template
        # a chat prompt is the whole text: as in training, the tokenizer puts nothing in front
        self.add_bos_token = None if template is None else False
        if template is not None:
            self.tokenizer.chat_template = chat_template(template, self.tokenizer)
        self._ends = self._find_ends()
        self._answers = Answers(out, self.describe())

    def _find_ends(self) -> tuple[int, ...]:
        found = end_token_ids(self.tokenizer, self._saved_ends, default_template(self.tokenizer))
        return tuple(token for token in found if token < num_embeddings(self.model))

    def finish(self) -> None:
        """The benchmark's items are written."""
        assert self._answers is not None
        self._answers.drop()

    def close(self) -> None:
        self._workers.close()

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "transformers",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "adapter": isinstance(self.model, PeftModel),
            "num_parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "context_tokens": self.max_length,
            "end_tokens": self.tokenizer.convert_ids_to_tokens(list(self._ends)),
        }

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return rendered(self.tokenizer, chat_history, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """As lm-eval's, without the end token that some tokenizers append: nothing could follow it."""
        ids = super().tok_encode(string, add_special_tokens=add_special_tokens, **kwargs)
        return self._without_appended(string, ids)

    def _encode_prompt(self, string: str) -> list[int]:
        return self._without_appended(string, self.tok_batch_encode([string])[0][0].tolist())

    def _without_appended(self, string: str, ids: list[int]) -> list[int]:
        if not self._appended or tuple(ids[-len(self._appended) :]) != self._appended:
            return ids
        bare = self.tokenizer.encode(string, add_special_tokens=False)
        return ids if ids == bare else ids[: -len(self._appended)]

    def tok_decode(self, tokens: int | list[int], skip_special_tokens: bool = True) -> str:
        ids = [tokens] if isinstance(tokens, int) else list(tokens)
        text = self.tokenizer.decode(self._anchor + ids, skip_special_tokens=skip_special_tokens)
        return text[len(self.tokenizer.decode(self._anchor)) :]

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        """Args: requests: ((context, continuation), context ids, continuation ids), as lm-eval encodes them.

        The method that lm-eval's own models implement, in spite of its name.
        """
        room = self.max_length + 1  # the last token is only scored
        rows: list[Ids] = []
        continuations: dict[Ids, dict[Ids, None]] = {}
        for texts, context, continuation in requests:
            assert context and 0 < len(continuation) <= self.max_length
            if len(context) + len(continuation) > room:
                self.truncated_prompts.add(texts[0])
            rows.append(tuple((context + continuation)[-room:-1]))
            continuations.setdefault(rows[-1], {})[tuple(continuation)] = None
        asked = {ids: Likelihood(ids, tuple(wanted)) for ids, wanted in continuations.items()}
        found = self._ask([asked[ids] for ids in rows], [texts for texts, _, _ in requests])
        answers = []
        for ids, (_, _, continuation) in zip(rows, requests, strict=True):
            at = asked[ids].continuations.index(tuple(continuation))
            log_probability, is_greedy = found[asked[ids]].value[at]
            answers.append((log_probability, is_greedy))
        return answers

    def first_tokens(self, requests: list[Any]) -> list[list[tuple[str, float]]]:
        """Args:   requests: (prompt, how many), of tasks whose answer is the first token.
        Returns: the most probable next tokens, each as its own text, with their log-probabilities, most probable first.
        """
        asked: list[Request] = []
        for context, most in (request.args for request in requests):
            ids = self._encode_prompt(context)
            if len(ids) > self.max_length:
                self.truncated_prompts.add(context)
            asked.append(FirstTokens(tuple(ids[-self.max_length :]), most))
        found = self._ask(asked, [request.args for request in requests])
        return [
            [(self.tokenizer.decode([token], skip_special_tokens=True), value) for token, value in found[request].value]
            for request in asked
        ]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        eos = None if self.eot_token_id is None else self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        asked: list[Request] = []
        encoded: dict[str, list[int]] = {}
        seen: Counter[tuple[Ids, GenerationSettings]] = Counter()
        for context, own in (request.args for request in requests):
            settings = self._settings(own, eos)
            room = self.max_length - settings.max_new_tokens
            assert room > 0, f"{settings.max_new_tokens} new tokens leave no room in a context of {self.max_length}"
            if context not in encoded:
                encoded[context] = self._encode_prompt(context)
            if len(encoded[context]) > room:
                self.truncated_prompts.add(context)
            ids = tuple(encoded[context][-room:])
            number = seen[ids, settings] if settings.temperature > 0 else 0
            seen[ids, settings] += 1
            asked.append(Generation(ids, settings, number))
        found = self._ask(asked, [request.args for request in requests])
        for request, answered in zip(requests, asked, strict=True):
            answer = found[answered]
            assert answer.ending is not None
            self.endings.setdefault(request.args[0], []).append((answer.value, answer.ending))
        return [found[request].value for request in asked]

    def _settings(self, own: dict[str, Any], eos: str | None) -> GenerationSettings:
        """lm-eval's generation settings, read as its Hugging Face model reads them."""
        settings: Any = normalize_gen_kwargs(own, self.max_gen_toks)
        stop = handle_stop_sequences(settings.pop("until", None), eos=eos)
        sampled = settings.pop("do_sample")
        temperature, top_p = settings.pop("temperature"), settings.pop("top_p", 1.0)
        max_new_tokens = settings.pop("max_gen_toks")
        assert not settings, f"generation settings that are not read here: {settings}"
        stop_ids, marked = split_stops(stop, self.tokenizer)
        greedy = GenerationSettings(tuple(stop), max_new_tokens, ends=self._ends, stop_ids=stop_ids, marked_stop=marked)
        return replace(greedy, temperature=temperature, top_p=top_p, seed=self._seed) if sampled else greedy

    def _ask(self, requests: list[Request], arguments: Sequence[Any]) -> dict[Request, Answer]:
        """Args: arguments: lm-eval's own of each request, passed to its hook when the request is answered."""
        assert self._answers is not None
        refuse_ids_beyond_embedding(self.tokenizer, self.model, (ids for request in requests for ids in _read(request)))
        of: dict[Request, list[Any]] = {}
        for request, its_arguments in zip(requests, arguments, strict=True):
            of.setdefault(request, []).append(its_arguments)
        batches = self._plan(list(of))
        answered: dict[Request, Answer] = {}

        def take(batch: Batch[Request], answers: Sequence[Answer]) -> None:
            for request, answer in zip(batch.items, answers, strict=True):
                answered[request] = answer
                for its_arguments in of[request]:
                    self.cache_hook.add_partial(type(request).__name__, its_arguments, answer.value)

        missing = []
        for batch in batches:
            if (kept := self._answers.of(batch)) is None:
                missing.append(batch)
            else:
                take(batch, kept)
        for batch, answers in self._answer(missing, processes_for(len(batches), self.device, self._num_processes)):
            self._answers.add(batch, answers)
            self.num_tokens += sum(answer.num_tokens for answer in answers)
            take(batch, answers)
        return answered

    def _plan(self, requests: Sequence[Request]) -> list[Batch[Request]]:
        return plan(requests, limits(self.device, self._batch_size), self.answerer.shares)

    def _answer(
        self, batches: Sequence[Batch[Request]], num_processes: int
    ) -> Iterator[tuple[Batch[Request], list[Answer]]]:
        if not batches:
            return iter(())
        if num_processes > 1:
            return self._workers.run(ByPrefix(batches).take, num_processes)
        if self.model.device.type != self.device.type:  # it had given way to processes
            self.model.to(self.device)
        return ((batch, self.answerer.answer(batch)) for batch in batches)


def _appended(tokenizer: PreTrainedTokenizerBase) -> Ids:
    """What a tokenizer puts behind every text."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", add_special_tokens=False)
    start = next((n for n in range(len(whole) - len(bare) + 1) if whole[n : n + len(bare)] == bare), 0)
    return tuple(whole[start + len(bare) :])


def _read(request: Request) -> Iterator[Ids]:
    """All token ids that a model must know to answer."""
    yield request.ids
    if isinstance(request, Likelihood):
        yield from request.continuations
