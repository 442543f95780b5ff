"""What has no public name in another library is named here, so that a release that moves it is seen."""

from __future__ import annotations

import platform
import re
from multiprocessing.connection import Listener
from pathlib import Path

import lm_eval.utils
import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig

from selectit.evaluate.model.harness import quiet

KNOWN = {"_linear_pointwise", "_listener", "_socket", "_yaml_loader", "_attn_implementation"}
"""oneDNN's matrix product; the time limit of `Listener.accept`; lm-eval's reader of task files (tested with the hub's
data sets in tests/evaluate/test_hub.py); the attention that a model was loaded with."""


def test_no_other_private_name_of_a_library_is_used(root: Path):
    private = re.compile(
        r"\b(?:torch|transformers|trl|peft|datasets|lm_eval|listener|arguments|trainer|tokenizer|model|wandb)"
        r"(?:\.\w+)*?((?:\._[a-z]\w+)+)"
    )
    found = set()
    for room in ("selectit", "finetune", "evaluate"):
        for path in (root / room).rglob("*.py"):
            for names in private.findall(path.read_text()):
                found |= set(names.strip(".").split("."))
    assert found == KNOWN


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN is used on x86 only")
def test_onednn_multiplies_as_torch_does():
    rows, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    found = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    torch.testing.assert_close(found, functional.linear(rows, weight, bias))


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
