"""Every way of rating gives the numbers of the plain one: one text at a time, every logit, float32."""

from __future__ import annotations

import copy
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from selectit.errors import UserError
from selectit.inference import kernels, workers
from selectit.inference.batch import PADDED_PATH, Batch, Text, batches, common_prefix
from selectit.inference.kernels import QUERY_BLOCK, attend_fused, attend_in_blocks, linear
from selectit.inference.loaded import IF_KILLED, FittingRater, make_rater
from selectit.inference.packed import PackedRater, obstacle
from selectit.inference.padded import PaddedRater
from selectit.inference.workers import (
    BATCHES_PER_PROCESS,
    ModelWorkers,
    Workers,
    counted_processes,
    in_order,
    processes_for,
)

VOCABULARY = 97
RATING_IDS = [11, 12, 13, 14, 15]
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "longrope": {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
    },
}  # fmt: skip


def build(model_class, config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():  # large enough weights that attention and position matter to the result
        for parameter in model.parameters():
            parameter.normal_(std=0.25) if parameter.dim() > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def llama(**settings) -> torch.nn.Module:
    return build(LlamaForCausalLM, LlamaConfig(**{**SMALL, **settings}))


PACKED = {
    "grouped queries": lambda: llama(),
    "one key-value head": lambda: llama(num_key_value_heads=1),
    "no grouping": lambda: llama(num_key_value_heads=4),
    "tied embeddings": lambda: llama(tie_word_embeddings=True),
    "one layer": lambda: llama(num_hidden_layers=1),
    "wide heads": lambda: llama(head_dim=16),
    "linear rope": lambda: llama(rope_parameters=ROPES["linear"]),
    "llama3 rope": lambda: llama(rope_parameters=ROPES["llama3"]),
    "yarn rope": lambda: llama(rope_parameters=ROPES["yarn"]),
    "mistral without window": lambda: build(MistralForCausalLM, MistralConfig(**SMALL, sliding_window=None)),
    "qwen2, biased queries": lambda: build(Qwen2ForCausalLM, Qwen2Config(**SMALL)),
}
PADDED = {
    "rotary embedding (dynamic)": lambda: llama(rope_parameters=ROPES["dynamic"], max_position_embeddings=64),
    "rotary embedding (longrope)": lambda: llama(rope_parameters=ROPES["longrope"]),
    "bias": lambda: llama(attention_bias=True),
    "feed-forward": lambda: llama(mlp_bias=True),
    "activation": lambda: llama(hidden_act="gelu"),
    "sliding window": lambda: build(MistralForCausalLM, MistralConfig(**SMALL, sliding_window=16)),
    "window of 16": lambda: build(
        Qwen2ForCausalLM, Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=16, max_window_layers=1)
    ),
    "not of the LLaMA family": lambda: build(
        GPT2LMHeadModel, GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    ),
}


def texts(lengths, prefix=9, seed=0) -> list[Text]:
    generator = np.random.default_rng(seed)
    shared = generator.integers(20, VOCABULARY, prefix)
    return [
        Text(((str(n), 0),), np.concatenate([shared, generator.integers(20, VOCABULARY, length)]).astype(np.int32))
        for n, length in enumerate(lengths)
    ]


MIXED = (1, 2, 3, 40, QUERY_BLOCK - 1, QUERY_BLOCK, QUERY_BLOCK + 1, 3 * QUERY_BLOCK + 7, 5, 40)


@torch.no_grad()
def oracle(model, rows) -> np.ndarray:
    logits = []
    for row in rows:
        fresh = copy.deepcopy(model)  # dynamic rotary embeddings remember the longest text
        logits.append(fresh(input_ids=torch.tensor(row.ids[None].astype(np.int64))).logits[0, -1].float())
    return torch.softmax(torch.stack(logits), dim=-1)[:, RATING_IDS].double().numpy()


def work_on(rater, batches, num_processes):
    if num_processes == 1:
        read = FittingRater(rater).read
        yield from ((batch, read(batch)) for batch in batches)
        return
    cpu = torch.device("cpu")
    at_work = ModelWorkers(cpu, FittingRater(rater).read, None, lambda: None, IF_KILLED)
    try:
        yield from at_work.run(in_order(iter(batches)), num_processes)
    finally:
        at_work.close()


def rate(rater, rows, batch_tokens=10**6, prefix=None, num_processes=1) -> np.ndarray:
    prefix = common_prefix(rows) if prefix is None else prefix
    found = {}
    for batch, probabilities in work_on(rater, batches(rows, prefix, batch_tokens, rater.pads), num_processes):
        found.update(zip((text.keys for text in batch.items), probabilities, strict=True))
    return np.array([found[row.keys] for row in rows])


@pytest.mark.parametrize("name", PACKED)
def test_the_packed_path_equals_the_oracle(name):
    model, rows = PACKED[name](), texts(MIXED)
    expected = oracle(model, rows)
    assert obstacle(model) is None
    for batch_tokens in (1, 150, 10**6):
        np.testing.assert_allclose(
            rate(make_rater(model, RATING_IDS), rows, batch_tokens), expected, atol=1e-6, rtol=1e-4
        )
    np.testing.assert_allclose(oracle(model, rows), expected, atol=1e-7)  # the model itself is left as it was


@pytest.mark.parametrize("name", PADDED)
def test_what_the_packed_path_cannot_do_takes_the_padded_path_and_equals_the_oracle(name):
    model, rows = PADDED[name](), texts(MIXED)
    assert name in obstacle(model) or "window" in name
    rater = make_rater(model, RATING_IDS)
    assert rater.name == PADDED_PATH
    expected = oracle(model, rows)
    for batch_tokens in (1, 150, 10**6):
        np.testing.assert_allclose(rate(rater, rows, batch_tokens), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("attention", [attend_fused, attend_in_blocks])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@torch.inference_mode()
def test_both_attentions_equal_the_masked_one(attention, num_kv_heads):
    for num_queries, num_shared in ((1, 0), (1, 30), (QUERY_BLOCK, 5), (2 * QUERY_BLOCK + 3, 0), (70, 41)):
        queries, keys, values = (
            torch.randn(heads, length, 8)
            for heads, length in (
                (4, num_queries), (num_kv_heads, num_shared + num_queries), (num_kv_heads, num_shared + num_queries),
            )
        )  # fmt: skip
        keys_of_heads, values_of_heads = (t.repeat_interleave(4 // num_kv_heads, dim=0) for t in (keys, values))
        weights = queries @ keys_of_heads.transpose(1, 2) * 0.3
        unseen = torch.ones(weights.shape[1:], dtype=torch.bool).triu_(num_shared + 1)
        expected = weights.masked_fill(unseen, float("-inf")).softmax(-1) @ values_of_heads
        found = attention(queries, keys, values, 0.3)
        torch.testing.assert_close(found, expected.transpose(0, 1).flatten(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_matrix_products_are_those_of_a_linear_layer(bias, monkeypatch):
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 160, bias=bias)
    rows, part = torch.randn(33, 96), slice(32, 80)
    with torch.inference_mode():
        exact = torch.nn.functional.linear(rows.double(), layer.weight.double(), layer.bias.double() if bias else None)
        found = linear(rows, layer.weight, layer.bias)
        some = linear(rows[5:6], layer.weight[part], layer.bias[part] if bias else None)
        monkeypatch.setattr(kernels, "_ONEDNN", False)
        torchs = linear(rows, layer.weight, layer.bias)
    for result in (found, torchs):
        torch.testing.assert_close(result.double(), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(some.double(), exact[5:6, part], rtol=0, atol=1e-5)


def test_half_precision_on_cpu_takes_the_padded_path():
    assert "float32" in obstacle(llama().to(torch.bfloat16))


def test_adapted_weights_take_the_padded_path():
    model = llama()

    class Adapted(torch.nn.Linear):
        pass

    model.model.layers[1].mlp.up_proj.__class__ = Adapted
    assert "adapted" in obstacle(model)


@pytest.mark.parametrize("lengths", [(30,), (1,), (17, 17, 17), (1, 1), (400, 1)])
def test_one_row_equal_rows_and_extreme_lengths(lengths):
    model = llama()
    for prefix in (0, 1, 9, 80):
        rows = texts(lengths, prefix)
        np.testing.assert_allclose(rate(make_rater(model, RATING_IDS), rows), oracle(model, rows), atol=1e-6, rtol=1e-4)


def test_order_and_alternating_prefixes_do_not_change_the_numbers():
    model, rows = llama(), texts(MIXED)
    expected, rater = oracle(model, rows), PackedRater(llama(), RATING_IDS)
    prefix = common_prefix(rows)
    np.testing.assert_allclose(rate(rater, rows[::-1]), expected[::-1], atol=1e-6, rtol=1e-4)
    for shared in (prefix, prefix[:4], (), prefix):
        np.testing.assert_allclose(rate(rater, rows, prefix=shared), expected, atol=1e-6, rtol=1e-4)


def test_the_common_prefix_leaves_a_token_of_every_text():
    assert common_prefix(texts([30])) == ()
    rows = texts([5, 0, 7], prefix=6)
    assert common_prefix(rows) == tuple(rows[1].ids[:-1].tolist())
    assert common_prefix([rows[0], rows[0]]) == tuple(rows[0].ids[:-1].tolist())
    other = Text((("x", 0),), np.array([1, 2, 3], dtype=np.int32))
    assert common_prefix([*rows, other]) == ()


def test_batches_hold_every_text_once_and_stay_within_their_tokens():
    rows = texts(MIXED)
    prefix = common_prefix(rows)
    for pads in (True, False):
        found = list(batches(rows, prefix, 120, pads))
        assert sorted(text.keys for batch in found for text in batch.items) == sorted(row.keys for row in rows)
        for batch in found:
            longest = max(len(text.ids) for text in batch.items)
            cost = longest * len(batch.items) if pads else sum(len(t.ids) - len(prefix) for t in batch.items)
            assert cost <= 120 or len(batch.items) == 1


def no_cuda_memory():
    raise torch.OutOfMemoryError("out of memory")


def no_cpu_memory():
    torch.empty(2**60)  # torch itself says that it cannot


class Cramped:
    """Fits `fits` texts, and counts, over all forked processes, how often it does not."""

    name, pads = "cramped", False

    def __init__(self, rater, fits, fail=no_cuda_memory):
        self.rater, self.fits, self.fail, self.rated = rater, fits, fail, []
        self.refusals = multiprocessing.Value("i", 0)

    @property
    def refused(self):
        return self.refusals.value

    def rate(self, batch):
        if len(batch.items) > self.fits:
            with self.refusals:
                self.refusals.value += 1
            self.fail()
        self.rated.append(len(batch.items))
        return self.rater.rate(batch)


@pytest.mark.parametrize("fail", [no_cuda_memory, no_cpu_memory])
def test_a_batch_that_does_not_fit_is_halved_and_the_good_size_remembered(fail):
    model, rows = llama(), texts([20] * 16)
    cramped = Cramped(PackedRater(model, RATING_IDS), 2, fail)
    rater, prefix = FittingRater(cramped), common_prefix(rows)
    expected = oracle(model, rows)
    for _ in range(3):
        np.testing.assert_allclose(rater.read(Batch(rows, prefix)), expected, atol=1e-6, rtol=1e-4)
    assert cramped.refused == 3  # 16, 8 and 4 texts, once each
    assert set(cramped.rated) == {2}


@pytest.mark.parametrize("fail", [no_cuda_memory, no_cpu_memory])
def test_a_single_text_that_does_not_fit_names_the_row_and_the_cure(fail):
    rater = FittingRater(Cramped(PackedRater(llama(), RATING_IDS), 0, fail))
    with pytest.raises(UserError, match=r"row 0: its text under rating prompt 1 has 29 tokens.*score.max_length below"):
        rater.read(Batch(texts([20] * 4)))


def test_another_runtime_error_is_not_a_reason_to_halve():
    def fail():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    cramped = Cramped(PackedRater(llama(), RATING_IDS), 0, fail)
    with pytest.raises(RuntimeError, match="shapes"):
        FittingRater(cramped).read(Batch(texts([20] * 4)))
    assert cramped.refused == 1


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are forked on Linux only")
def test_forked_processes_share_the_size_that_fits():
    model, rows = llama(), texts([20] * 64)
    cramped = Cramped(PackedRater(model, RATING_IDS), 2, no_cpu_memory)
    found = rate(cramped, rows, batch_tokens=16 * 20, num_processes=2)
    np.testing.assert_allclose(found, oracle(model, rows), atol=1e-6, rtol=1e-4)
    assert 3 <= cramped.refused <= 6  # each size is found too large by both at most, not in each of the batches


LIMITED = """
import json, resource, sys
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from selectit.inference.batch import Batch, Text
from selectit.inference.loaded import FittingRater, make_rater

torch.set_num_threads(1)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=64, hidden_size=16, intermediate_size=16384, num_hidden_layers=2, num_attention_heads=2))
rater = FittingRater(make_rater(model.eval(), [1, 2, 3, 4, 5]))
texts = [Text(((str(n), 0),), np.full(400, 7 + n, dtype=np.int32)) for n in range(32)]
rater.read(Batch(texts[:1]))
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20,) * 2)
found = rater.read(Batch(texts))
print(json.dumps([len(found), rater.fits.value < 32 * 400, bool(np.isfinite(found).all())]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is set the way of Linux")
def test_under_a_real_limit_on_memory_everything_is_rated_all_the_same():
    answer = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert json.loads(answer.stdout) == [32, True, True], answer.stderr


def test_a_text_beyond_learned_positions_names_the_cure():
    model = PADDED["not of the LLaMA family"]()
    with pytest.raises(UserError, match=r"600 tokens .its context is 512.; set score.max_length"):
        PaddedRater(model, RATING_IDS).rate(Batch(texts([600], prefix=0)))


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are forked on Linux only")
@pytest.mark.parametrize("make", [PACKED["grouped queries"], PADDED["bias"]])
def test_the_number_of_processes_does_not_change_the_numbers(make):
    model, rows = make(), texts(MIXED * 3)
    expected = oracle(model, rows)
    for num_processes in (1, 2, 5):
        found = rate(make_rater(model, RATING_IDS), rows, 100, num_processes=num_processes)
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-4)


def test_processes_are_taken_where_the_work_is_enough(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    most = 4 if sys.platform == "linux" else 1
    for num_batches, expected in ((0, 1), (BATCHES_PER_PROCESS, 1), (2 * BATCHES_PER_PROCESS, 2), (1000, 4)):
        given = list(range(num_batches))
        num_processes, same = counted_processes(iter(given), cpu, None)
        assert num_processes == processes_for(num_batches, cpu, None) == min(expected, most)
        assert list(same) == given
    assert [processes_for(1, cuda, wanted) for wanted in (None, 2)] == [8, 2]
    assert processes_for(100, torch.device("mps"), 4) == 1
    if sys.platform == "linux":
        assert processes_for(1, cpu, 3) == 3


@pytest.mark.slow
def test_processes_that_load_their_own_copy_give_the_ledger_of_one(demo, tmp_path, monkeypatch):
    """One for each GPU, tried on a CPU; the size that fits is shared by these too."""
    import pyarrow.parquet as parquet
    from rich.console import Console

    from selectit.config import ModelConfig, PoolConfig, ScoreStage
    from selectit.scoring import stage
    from selectit.tracking import Tracker

    config = ScoreStage(
        pool=PoolConfig(path=str(demo / "pool.json")), model=ModelConfig(path=str(demo / "model")),
        prompts=("Rate it.\n\n",), batch_tokens=400, num_processes=1,
    )  # fmt: skip
    tables = []
    for name, wanted, start in (("one", 1, "fork"), ("two", 2, "spawn")):
        monkeypatch.setattr(workers, "how_to_start", lambda device, start=start: start)
        (tmp_path / name).mkdir()
        tracker = Tracker(tmp_path / name, Console(quiet=True))
        stage.run(config.model_copy(update={"num_processes": wanted}), {}, tmp_path / name, tracker)
        tables.append(parquet.read_table(tmp_path / name / "ledger.parquet"))
    assert json.loads((tmp_path / "two" / "score.json").read_text())["num_processes"] == 2
    for column in ("row_id", "prompt", "num_tokens", "digest"):
        assert tables[0][column].equals(tables[1][column])
    np.testing.assert_allclose(*(t["probabilities"].combine_chunks().flatten() for t in tables), atol=1e-6)

    fits = FittingRater(Cramped(None, 0)).fits
    shrink = Workers(functools.partial(shrinking, fits), 2, "spawn", "killed")
    try:
        assert sorted(shrink.run(in_order(iter([7, 3, 5])))) == [(3, 3), (5, 5), (7, 7)]
    finally:
        shrink.close()
    assert fits.value == 3


def shrinking(fits, number):
    def shrink(size):
        fits.value = min(fits.value, size)
        return size

    return shrink


class Failing:
    name, pads = "failing", False

    def __init__(self, act):
        self.act = act

    def rate(self, batch):
        self.act()


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are forked on Linux only")
def test_a_process_that_fails_or_is_killed_is_reported_and_leaves_no_other_behind():
    def fail():
        raise UserError("no such token")

    others = psutil.Process().children()
    work = list(batches(texts([5] * 20), (), 20, pads=False))
    with pytest.raises(UserError, match="no such token"):
        list(work_on(Failing(fail), work, 2))
    with pytest.raises(RuntimeError, match="a scoring process was killed"):
        list(work_on(Failing(lambda: os.kill(os.getpid(), signal.SIGKILL)), work, 2))
    assert psutil.Process().children() == others


SCORE = """
import json, sys
from pathlib import Path
from rich.console import Console
import selectit.scoring.ledger as ledger
from selectit.config import ScoreStage
from selectit.scoring import stage
from selectit.tracking import Tracker
ledger.FLUSH_SECONDS = 0
config, out = ScoreStage.model_validate_json(sys.argv[1]), Path(sys.argv[2])
stage.run(config, {}, out, Tracker(out, Console(quiet=True)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are forked on Linux only")
def test_kill_minus_nine_with_processes_then_resume_with_another_number(demo, tmp_path):
    import pyarrow.parquet as parquet

    config = {
        "pool": {"path": str(demo / "pool.json")}, "model": {"path": str(demo / "model")},
        "prompts": ["Rate it.\n\n", "Judge it.\n\n", "Weigh it.\n\n"], "batch_tokens": 200,
    }  # fmt: skip

    def start(out: Path, num_processes: int) -> subprocess.Popen:
        out.mkdir(exist_ok=True)
        arguments = [json.dumps({**config, "num_processes": num_processes}), str(out)]
        return subprocess.Popen([sys.executable, "-c", SCORE, *arguments], cwd=Path(__file__).parents[1])

    out = tmp_path / "killed"
    process = start(out, 2)
    while len(list((out / "ledger").glob("part-*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(children) == 2
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    before = sum(parquet.read_metadata(part).num_rows for part in (out / "ledger").glob("part-*.parquet"))
    assert 0 < before < 3 * len(json.loads((demo / "pool.json").read_text()))

    assert start(out, 1).wait() == 0
    assert start(tmp_path / "whole", 1).wait() == 0
    found, whole = (parquet.read_table(folder / "ledger.parquet") for folder in (out, tmp_path / "whole"))
    for column in ("row_id", "prompt", "num_tokens"):
        assert found[column].equals(whole[column])
    np.testing.assert_allclose(*(t["probabilities"].combine_chunks().flatten() for t in (found, whole)), atol=1e-6)
