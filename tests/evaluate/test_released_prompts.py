"""Profile paper-2023 asks the released scripts' prompts, item by item and byte by byte.

The right side is tests/golden/released_scripts.py, which shares no code with the project.
"""

import csv
import json

import pytest
import yaml
from golden import released_scripts
from sentencepiece import SentencePieceProcessor

from selectit.config import ModelConfig
from selectit.evaluate.benchmarks.questions import load_questions
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage

MMLU_WITH_DROPPED = {
    "high_school_european_history": 165,
    "high_school_us_history": 204,
    "high_school_world_history": 2,
    "professional_law": 153,
}
"""Questions whose prompt loses demonstrations, by transformers' conversion of LLaMA-2's tokenizer.model. It
joins other pieces than SentencePiece in two prompts of professional_law, of which SentencePiece counts 151.
"""
SENTENCES = {
    "arabic": "هذه جملة عن التاريخ.", "bengali": "এটি ইতিহাসের একটি বাক্য।", "english": "A sentence about history.",
    "finnish": "Lause historiasta.", "indonesian": "Kalimat tentang sejarah.", "korean": "역사에 관한 문장.",
    "russian": "Предложение об истории.", "swahili": "Sentensi kuhusu historia.", "telugu": "చరిత్ర గురించి వాక్యం.",
}  # fmt: skip


def asked(benchmark, data, tokenizer=None, **changes):
    """{task: [(item id, prompt)]}, as lm-eval hands them to a model, in the order of the result."""
    settings = load_profile("paper-2023").benchmarks[benchmark].model_copy(update=changes)
    config = EvaluateStage(model=ModelConfig(path="none"), benchmark=settings, data=str(data))
    questions = load_questions(config, tokenizer)
    found = {}
    for name, task in questions.tasks.items():
        ids = None if questions.samples is None else questions.samples[name]
        task.build_all_requests(samples=ids)
        prompts = dict.fromkeys((request.doc_id, request.args[0]) for request in task.instances)
        by_id = {(at if ids is None else ids[at]): prompt for at, prompt in prompts}
        order = by_id if questions.drawn is None else questions.drawn[name]
        found[name] = [(item_id, by_id[item_id]) for item_id in order]
    return found


def test_gsm8k_asks_the_scripts_questions_in_its_order(data):
    (found,) = asked("gsm8k", data).values()
    assert found == released_scripts.gsm8k(data)
    assert [item_id for item_id, _ in found[:2]] == [1309, 228] and len(found) == 200


def test_bbh_asks_the_scripts_questions_of_all_27_tasks(data):
    found = {name.removeprefix("bbh_cot_fewshot_"): prompts for name, prompts in asked("bbh", data).items()}
    assert found == released_scripts.bbh(data, released_scripts.BBH_SHA256)
    assert len(found) == 27 and {len(prompts) for prompts in found.values()} == {40}


def check_mmlu(data, tokenizer, subjects):
    def num_tokens(text):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    found = asked("mmlu", data, tokenizer, tasks=subjects)
    for subject in subjects:
        expected = released_scripts.mmlu(data, subject, num_tokens)
        assert [prompt for _, prompt in found[f"mmlu_{subject}"]] == [prompt for prompt, _ in expected]
        dropped = sum(num_shots < 5 for _, num_shots in expected)
        assert dropped == MMLU_WITH_DROPPED.get(subject, 0), subject


def test_mmlu_asks_the_scripts_prompts_and_drops_the_same_demonstrations(data, llama_tokenizer):
    check_mmlu(data, llama_tokenizer, ("abstract_algebra", "high_school_european_history", "high_school_world_history"))


@pytest.mark.slow
def test_mmlu_asks_the_scripts_prompts_of_every_subject(data, llama_tokenizer):
    subjects = sorted(path.name.removesuffix("_test.csv") for path in (data / "mmlu" / "test").glob("*.csv"))
    assert len(subjects) == 57
    check_mmlu(data, llama_tokenizer, tuple(subjects))
    pieces = SentencePieceProcessor(model_file=str(data / "tokenizer" / "tokenizer.model"))
    law = released_scripts.mmlu(data, "professional_law", lambda text: len(pieces.encode(text)))
    assert sum(num_shots < 5 for _, num_shots in law) == 151


def test_mmlus_ten_cells_that_read_none_are_printed_as_they_are(data, llama_tokenizer):
    cells, subjects = 0, set()
    for path in (data / "mmlu" / "test").glob("*.csv"):
        with path.open(newline="") as f:
            here = sum(cell == "None" for row in csv.reader(f) for cell in row)
        cells, subjects = cells + here, subjects | ({path.name.removesuffix("_test.csv")} if here else set())
    assert cells == 10
    found = asked("mmlu", data, llama_tokenizer, tasks=tuple(sorted(subjects - set(MMLU_WITH_DROPPED))))
    texts = [prompt for prompts in found.values() for _, prompt in prompts]
    assert any("\nD. None\nAnswer:" in text for text in texts) and not any(". nan\n" in text for text in texts)


def test_mmlu_compares_the_scripts_tokens(data, llama_tokenizer, llama_lm):
    """The last id of each of " A" to " D", behind the ids of the prompt with the start token."""
    for _, prompt in asked("mmlu", data, llama_tokenizer, tasks=("anatomy",))["mmlu_anatomy"][:20]:
        for letter in "ABCD":
            context, continuation = llama_lm._encode_pair(prompt, f" {letter}")
            assert context == llama_tokenizer(prompt)["input_ids"]
            assert continuation == llama_tokenizer(f" {letter}", add_special_tokens=False)["input_ids"][-1:]


@pytest.fixture
def nine_languages(tmp_path):
    """A pool in TyDiQA's form: languages with more, as many and fewer rows than are drawn, and long passages."""
    sizes = dict(zip(SENTENCES, (130, 100, 101, 40, 250, 1, 120, 110, 140), strict=True))
    folder = tmp_path / "data" / "tydiqa"
    folder.mkdir(parents=True)
    for name, least in (("dev", 0), ("train", 3)):
        articles = []
        for number in range(250):
            for language, sentence in SENTENCES.items():
                if number >= (sizes[language] if name == "dev" else least + len(language)):
                    continue
                context = " ".join(f"{number}. {sentence}" for _ in range(1 + (number * 37) % 90))
                row = {
                    "id": f"{language}-{name}-{number}",
                    "question": f"{sentence} {number}? ",
                    "answers": [{"text": f"{number}", "answer_start": 0}, {"text": sentence, "answer_start": 0}],
                }
                articles.append({"paragraphs": [{"context": context, "qas": [row]}]})
        (folder / f"tydiqa-goldp-v1.1-{name}.json").write_text(json.dumps({"data": articles}))
    return folder


def test_tydiqa_draws_and_cuts_as_the_script_does(nine_languages, llama_tokenizer, root):
    words = yaml.safe_load((root / "evaluate" / "benchmarks" / "tydiqa" / "selectit_words.yaml").read_text())
    expected = released_scripts.tydiqa(nine_languages, words, llama_tokenizer.encode, llama_tokenizer.decode)
    found = asked("tydiqa", nine_languages.parent, llama_tokenizer)
    assert [[prompt for _, prompt in prompts] for prompts in found.values()] == [
        [prompt for _, prompt in prompts] for prompts in expected.values()
    ]
    texts = [prompt for prompts in found.values() for _, prompt in prompts]
    assert len(texts) == 7 * 100 + 40 + 1 and 50 < sum("<s> " in text for text in texts) < 700


def test_tydiqas_words_are_the_handed_over_ones(root):
    words = yaml.safe_load((root / "evaluate" / "benchmarks" / "tydiqa" / "selectit_words.yaml").read_text())
    handed = root.parent / "shared" / "facts" / "paper_evaluation_tydiqa.json"
    if not handed.is_file():
        pytest.skip("the protocol's strings are not on this machine")
    assert words == json.loads(handed.read_text())


def test_alpaca_eval_is_asked_in_tulus_form_and_humaneval_as_it_is(data):
    rows = json.loads((data / "alpaca_eval" / "text_davinci_003.json").read_text())
    (found,) = asked("alpaca_eval", data).values()
    assert [prompt for _, prompt in found] == [f"<|user|>\n{row['instruction']}\n<|assistant|>\n" for row in rows]
    (found,) = asked("humaneval", data).values()
    assert len(found) == 164 and found[0][1].startswith("from typing import List\n\n\ndef has_close_elements")


def test_items_stand_in_the_order_in_which_they_were_drawn(oracle, evaluate, data):
    _, out = evaluate("gsm8k", profile="paper-2023", data=str(data), limit=5)
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [(item["item_id"], item["prompt"]) for item in items] == released_scripts.gsm8k(data)[:5]
