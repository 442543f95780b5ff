"""Each style of tokenizer is rated right, token ids proven, or refused with what was found."""

from __future__ import annotations

import pytest
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.inference.load import load_tokenizer
from selectit.scoring.prompts import SUFFIX, rating_text, read_rating_prompts
from selectit.scoring.ratings import rating_token_ids, rating_tokens

PROMPT = read_rating_prompts("default", "corrected")[0]
TEXTS = [
    rating_text(PROMPT, "Say hi.", "Hi."),
    rating_text(PROMPT, "Count.", "1 2 3\n4 5"),
    rating_text(PROMPT, "Zähle ☃.", "12345\n\n"),
]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
NEWLINE, SPACE = "Ċ", "Ġ"  # how byte-level tokenizers write them
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(digits: str) -> pre_tokenizers.PreTokenizer:
    """Words and digits as LLaMA 3 (`\\p{N}{1,3}`) and Qwen (`\\p{N}`) part them."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS % digits), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def byte_level(name: str, before, merges=(), bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    vocabulary = {token: number for number, token in enumerate([*ALPHABET, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer, tokenizer.decoder = before, decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if bos or eos:
        single = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        name_or_path=name,
        clean_up_tokenization_spaces=False,
    )


def metaspace(name: str, scheme: str, digits_apart: bool) -> PreTrainedTokenizerFast:
    """SentencePiece's way, as in Mistral: `▁` for a space, bytes for what has no piece."""
    merges = [("1", "2"), ("12", "3"), ("▁", "1")]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [chr(code) for code in range(33, 127)] + ["▁", *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(
        BPE({piece: n for n, piece in enumerate(pieces)}, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    before = [pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)]
    if digits_apart:
        before.append(pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>", name_or_path=name)


NUMBERS = [("1", "2"), ("12", "3"), (SPACE, "1"), (NEWLINE, NEWLINE)]
LINE_END = (SPACE, NEWLINE)  # the vocabularies of LLaMA 3 and Qwen have it as one token
RATED = {
    "gpt2": lambda: byte_level("gpt2", GPT2, NUMBERS),
    "gpt2 with a prefix space": lambda: byte_level("gpt2", pre_tokenizers.ByteLevel(add_prefix_space=True), NUMBERS),
    "llama3": lambda: byte_level("llama3", split(r"\p{N}{1,3}"), [*NUMBERS, LINE_END], bos=True),
    "qwen": lambda: byte_level("qwen", split(r"\p{N}"), [*NUMBERS, LINE_END]),
    "mistral": lambda: metaspace("mistral", "first", digits_apart=True),
    "mistral, digits joined": lambda: metaspace("mistral", "always", digits_apart=False),
}


@pytest.mark.parametrize("name", RATED)
def test_ids_of_the_whole_text_are_those_of_the_prompt_and_the_rating(name):
    tokenizer = RATED[name]()
    found = rating_token_ids(tokenizer, TEXTS)
    assert len(set(found)) == 5
    for text in TEXTS:
        for rating, token_id in enumerate(found, start=1):
            assert tokenizer(f"{text}{rating}")["input_ids"] == [*tokenizer(text)["input_ids"], token_id]
            assert tokenizer.decode([token_id]).strip() == str(rating)


def test_llama2_is_rated_right(shared, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((shared / "tokenizer" / "tokenizer.model").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true}')
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tokenizer = load_tokenizer(ModelConfig(path=str(tmp_path)))
    found = rating_token_ids(tokenizer, TEXTS)
    assert found == [29896, 29906, 29941, 29946, 29945]
    for text in TEXTS:
        for rating, token_id in enumerate(found, start=1):
            assert tokenizer(f"{text}{rating}")["input_ids"] == [*tokenizer(text)["input_ids"], token_id]


WHOLE = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def test_a_merge_that_glues_the_rating_to_the_line_end_is_refused_with_the_pieces():
    glued = byte_level("glued", WHOLE, [(NEWLINE, "3")])
    with pytest.raises(UserError, match=rf"glued does not write the rating '3' as one token.*'{NEWLINE}3'"):
        rating_token_ids(glued, TEXTS)


def test_a_merge_that_reaches_into_the_prompt_is_refused():
    reaching = byte_level("reaching", WHOLE, [(SPACE, NEWLINE), (SPACE + NEWLINE, "5")])
    with pytest.raises(UserError, match="reaching does not write the rating '5'"):
        rating_token_ids(reaching, TEXTS)


TRAILING = {
    "gpt2's pattern": lambda: byte_level("trailing", GPT2, [LINE_END]),
    "the piece before too": lambda: byte_level("longer", GPT2, [LINE_END, (":", SPACE + NEWLINE)]),
    "with a start token": lambda: byte_level("started", GPT2, [LINE_END], bos=True),
}


@pytest.mark.parametrize("name", TRAILING)
def test_a_tokenizer_that_parts_white_space_otherwise_once_a_rating_follows_is_rated_as_the_released_code_does(name):
    """GPT-2's pattern takes trailing white space as one part, but white space in front of a digit as two."""
    tokenizer = TRAILING[name]()
    for text in TEXTS:
        alone, joined = tokenizer(text)["input_ids"], tokenizer(f"{text}1")["input_ids"]
        assert joined[:-1] != alone and tokenizer.convert_ids_to_tokens(alone)[-1] == SPACE + NEWLINE
    found = rating_tokens(tokenizer, ((text, lambda text: tokenizer(text)["input_ids"]) for text in TEXTS))
    assert found.text_alone
    assert found.ids == [tokenizer.convert_tokens_to_ids(digit) for digit in "12345"]


def test_a_tokenizer_whose_ids_are_those_of_the_text_and_the_rating_is_not_said_to_part_them():
    tokenizer = RATED["llama3"]()
    assert not rating_tokens(
        tokenizer, ((text, lambda text: tokenizer(text)["input_ids"]) for text in TEXTS)
    ).text_alone


def test_a_tokenizer_where_a_rating_is_two_tokens_is_refused():
    spaced = byte_level("spaced", pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]))
    spaced.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("5", behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )  # a space in front of each part: " 5" is two tokens
    with pytest.raises(UserError, match=r"spaced does not write the rating '5' as one token.*'5'\]"):
        rating_token_ids(spaced, TEXTS)


def test_a_tokenizer_that_ends_every_text_is_refused_with_what_ends_them(tmp_path):
    """A tokenizer.json that was saved with an end token keeps it, whatever add_eos_token says."""
    with pytest.raises(UserError, match=r"ended ends every text with '</s>'.*out of the post_processor"):
        rating_token_ids(byte_level("ended", GPT2, bos=True, eos=True), TEXTS)
    asked = byte_level("asked", GPT2)
    asked.add_eos_token = True
    with pytest.raises(UserError, match=r"asked ends every text with '</s>'.*set add_eos_token to false"):
        rating_token_ids(asked, TEXTS)
    asked.add_eos_token = False
    assert rating_token_ids(asked, TEXTS)


def test_the_suffix_ends_in_a_line_end_so_that_no_space_can_join_the_rating():
    assert SUFFIX.endswith(": \n")
