"""WMT22 in ALMA's layout: BLEU by sacrebleu, COMET across the border of another Python."""

import json
import stat
import sys

import pytest
import sacrebleu

from selectit.errors import NotRun, UserError
from selectit.evaluate.grading.translation import first_line

TEXTS = {
    "en-de": [
        ("The cat sleeps in here.", "Die Katze schläft im Haus."),
        ("It is\u2028late.", "Es ist schon spät."),
    ],
    "en-zh": [("The weather is good today.", "今天天气很好。"), ("I like to read books.", "我喜欢看书。")],
    "zh-en": [("今天天气很好。", "The weather is good today."), ("我喜欢看书。", "I like to read books.")],
}
STUB = """#!{python}
# stands for a Python with COMET: the worker's text runs as it is, with a package `comet` that scores by length
import sys, types
comet = types.ModuleType("comet")
class Found:
    def __init__(self, scores): self.scores = scores
class Model:
    def predict(self, rows, batch_size, gpus, progress_bar):
        print("chatter on stdout")
        return Found([0.9 if row["mt"] == row["ref"] else 0.4 for row in rows])
comet.download_model = lambda name: "/checkpoints/" + name
comet.load_from_checkpoint = lambda path: Model()
sys.modules["comet"] = comet
torch = types.ModuleType("torch"); torch.cuda = types.SimpleNamespace(is_available=lambda: False)
sys.modules["torch"] = torch
import importlib.metadata
importlib.metadata.version = lambda name: "2.2.7"
_, flag, text, *arguments = sys.argv
assert flag == "-c"
sys.argv = ["-c", *arguments]
exec(compile(text, "<worker>", "exec"), {{"__name__": "__main__"}})
"""


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "data" / "wmt22"
    home.mkdir(parents=True)
    for pair, lines in TEXTS.items():
        for code, texts in zip(pair.split("-"), zip(*lines, strict=True), strict=True):
            (home / f"test.{pair}.{code}").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def comet_python(tmp_path):
    path = tmp_path / "python-with-comet"
    path.write_text(STUB.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize(("pair", "tokenizer"), [("en_de", "13a"), ("en_zh", "zh"), ("zh_en", "13a")])
def test_the_oracle_gets_100_with_the_tokenizer_of_the_target_language(oracle, evaluate, folder, pair, tokenizer):
    metrics, out = evaluate(f"wmt22_{pair}", profile="translation", data=str(folder))
    assert metrics["value"] == pytest.approx(1.0) and metrics["num_items"] == 2
    written = result(out)
    assert written["metrics"]["chrf"]["value"] == pytest.approx(1.0)
    assert f"tok:{tokenizer}" in written["scorers"]["bleu"] and "version:" in written["scorers"]["chrf"]


def test_bleu_is_sacrebleus_of_the_first_lines(oracle, evaluate, folder):
    said = iter(["\n今天天气不错。\n注：意译", "我喜欢看书。"])
    oracle.answer = lambda doc: next(said)
    metrics, out = evaluate("wmt22_en_zh", profile="translation", data=str(folder))
    expected = sacrebleu.corpus_bleu(
        ["今天天气不错。", "我喜欢看书。"], [[zh for _, zh in TEXTS["en-zh"]]], tokenize="zh"
    )
    assert metrics["value"] == pytest.approx(expected.score / 100) and metrics["stderr"] > 0
    lines = [json.loads(line) for line in (out / "items.jsonl").read_text().strip().split("\n")]
    assert [line["answer"] for line in lines] == ["今天天气不错。", "我喜欢看书。"]
    assert [line["score"] for line in lines] == [None, None]  # BLEU is no mean over sentences
    assert "Translate this from English to Chinese:\nEnglish: The weather" in lines[0]["prompt"]
    assert first_line(" \n\n") == ""


def test_comet_comes_from_the_configured_python(oracle, evaluate, folder, comet_python):
    said = iter([" Die Katze schläft im Haus.", "Falsch."])
    oracle.answer = lambda doc: next(said)
    metrics, out = evaluate("wmt22_en_de_comet", profile="translation", data=str(folder), comet_python=comet_python)
    assert metrics["value"] == pytest.approx(0.65)
    written = result(out)
    assert written["scorers"]["comet"] == "unbabel-comet 2.2.7, Unbabel/wmt22-comet-da"
    assert written["metrics"]["bleu"]["value"] < 1
    scores = [json.loads(line)["score"] for line in (out / "items.jsonl").read_text().strip().split("\n")]
    assert scores == [0.9, 0.4]


@pytest.mark.parametrize(
    ("python", "reason"),
    [(None, "evaluate.comet_python"), ("/nowhere/python", "cannot be started"), (sys.executable, "No module named")],
)
def test_without_comet_its_column_is_missing_before_anything_is_generated(oracle, evaluate, folder, python, reason):
    with pytest.raises(NotRun, match=reason):
        evaluate("wmt22_en_de_comet", profile="translation", data=str(folder), comet_python=python)
    assert oracle.prompts == []
    metrics, _ = evaluate("wmt22_en_de", profile="translation", data=str(folder), comet_python=python)
    assert metrics["value"] == pytest.approx(1.0)  # BLEU stands


def test_files_of_unequal_length_are_refused(oracle, evaluate, folder):
    (folder / "wmt22" / "test.en-de.de").write_text("Eins.\n")
    with pytest.raises(UserError, match=r"has 2 lines and .*test.en-de.de 1"):
        evaluate("wmt22_en_de", profile="translation", data=str(folder))
