"""What has no public name in another library is named here, so that a release that moves it is seen."""

from __future__ import annotations

import ast
import platform
from multiprocessing.connection import Listener
from pathlib import Path

import lm_eval.utils
import pytest
import torch
from sacrebleu.metrics import BLEU
from torch.nn import functional
from transformers import AutoConfig

from selectit.evaluate.benchmarks.task import DataDirTask
from selectit.evaluate.judge.bounded_http import BoundedClient
from selectit.evaluate.model.harness import quiet
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.vllm_lm import VllmLM
from selectit.finetune.trainer import ResponseTrainer

KNOWN = {
    "_linear_pointwise": "oneDNN's matrix product",
    "_listener": "the time limit of `Listener.accept`",
    "_socket": "the time limit of `Listener.accept`",
    "_yaml_loader": "lm-eval's reader of task files, tested with the hub's data sets in tests/evaluate/test_hub.py",
    "_attn_implementation": "the attention that a model was loaded with",
    "_ci": "sacrebleu's bootstrap interval, tested in tests/evaluate/test_translation.py",
    "_prepare_inputs": "transformers' move of a batch to the device of a training",
    "_save_checkpoint": "where transformers writes a checkpoint, tested in tests/finetune/test_finetune_resume.py",
    "_loglikelihood_tokens": "what lm-eval has its models implement, tested in tests/evaluate/test_answering.py",
}
"""Name -> what it is needed for; no public name gives it."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_exit"  # os._exit is documented


def of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def own_names(tree: ast.Module) -> set[str]:
    """Private names that a file gives to its functions, classes, fields and attributes."""
    nodes = list(ast.walk(tree))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    stored = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    fields = {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return defined | {node.attr for node in stored if of_self(node)} | fields


def foreign_names(tree: ast.Module, own: set[str], inherited: set[str]) -> set[str]:
    """Private names that a file takes from elsewhere. Args: own: the file's; inherited: those of every file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_super = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"
            if of_super or node.attr not in (inherited if of_self(node) else own):
                found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith(("__future__", "selectit")):
            parts = str(node.module).split(".")
            found |= {*parts, *(alias.name for alias in node.names)}
    return {name for name in found if is_private(name)}


def test_no_other_private_name_of_a_library_is_used(root: Path):
    paths = [path for room in ("selectit", "finetune", "evaluate") for path in (root / room).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    own = [own_names(tree) for tree in trees]
    found = [foreign_names(tree, names, set().union(*own)) for tree, names in zip(trees, own, strict=True)]
    overridden = {
        name
        for one in (ResponseTrainer, EvaluatedLM, VllmLM, DataDirTask, BoundedClient)
        for name, value in vars(one).items()
        if is_private(name) and callable(value)
        for base in one.__mro__
        if name in vars(base) and not base.__module__.startswith("selectit.")
    }
    assert set().union(*found) | overridden == set(KNOWN)


@pytest.mark.parametrize(
    "code", ["model.config._x", "super()._x()", "self._x()", "from lm_eval._x import y", "from trl import _x", "f()._x"]
)
def test_a_private_name_is_seen(code):
    assert foreign_names(ast.parse(code), set(), set()) == {"_x"}
    assert foreign_names(ast.parse("class A:\n    def _x(self):\n        return self._x()"), {"_x"}, {"_x"}) == set()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is used on x86 only")
def test_onednn_multiplies_as_torch_does():
    rows, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    found = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    torch.testing.assert_close(found, functional.linear(rows, weight, bias))


def test_sacrebleu_has_the_half_width_of_its_interval():
    score = BLEU().corpus_score(["a b c d e", "f g h i j"], [["a b c d e", "f g h i x"]], n_bootstrap=100)
    assert score._ci > 0 and f"{score._ci:.3f}" in score.format(width=3)


def test_a_model_records_which_attention_it_has(demo):
    config = AutoConfig.from_pretrained(demo / "model", attn_implementation="sdpa")
    assert config._attn_implementation == "sdpa"


def test_a_listener_has_a_socket_with_a_time_limit(tmp_path):
    with Listener(str(tmp_path / "socket"), "AF_UNIX") as listener:
        listener._listener._socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_lm_eval_compiles_a_template_once_while_it_is_asked_and_is_left_as_it_was():
    before = lm_eval.utils.env.from_string
    with quiet():
        assert lm_eval.utils.env.from_string("{{a}}") is lm_eval.utils.env.from_string("{{a}}")
        with quiet():
            pass
        assert lm_eval.utils.env.from_string("{{a}}") is lm_eval.utils.env.from_string("{{a}}")
    assert lm_eval.utils.env.from_string == before
    assert lm_eval.utils.env.from_string("{{a}}") is not lm_eval.utils.env.from_string("{{a}}")
