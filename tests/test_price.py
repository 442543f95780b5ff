"""`selectit plan --price`: counted parameters and tokens, done work free, and unknown where something is unknown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from finished_work import Work, call
from safetensors import safe_open

from selectit.config import FinetuneConfig, ModelConfig
from selectit.cost import tokens
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.work import num_items
from selectit.errors import UserError
from selectit.evaluate.profile import load_profile
from selectit.inference.shape import shape_from_config, shape_of
from selectit.scoring.prompts import rating_text
from selectit.templates.form import load_form

LLAMA_2_7B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
MISTRAL_7B = {**LLAMA_2_7B, "model_type": "mistral", "intermediate_size": 14336, "num_key_value_heads": 8}
QWEN_2_5_7B = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_3_06B = {
    "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "head_dim": 128,
    "num_hidden_layers": 28, "num_key_value_heads": 8, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "published"),
    [(LLAMA_2_7B, 6_738_415_616), (MISTRAL_7B, 7_241_732_096), (QWEN_2_5_7B, 7_615_616_512), (QWEN_3_06B, 596_049_920)],
)
def test_parameters_are_counted_from_a_config_alone(config, published):
    assert shape_from_config(config, "x").num_parameters == published


def test_the_items_of_an_evaluation_are_those_that_its_profile_asks():
    def items(profile):
        return {name: num_items(one, None) for name, one in load_profile(profile).benchmarks.items()}

    assert items("paper-2023") == {
        "mmlu": 14042, "bbh": 27 * 40, "gsm8k": 200, "tydiqa": 900, "humaneval": 164, "alpaca_eval": 805,
    }  # fmt: skip
    assert items("instructdiff-medical") == {"medqa": 1273, "medmcqa": 4183, "mmlu_medical": 2739}
    assert items("medical") == {"medqa": 1273, "medmcqa": 4183, "mmlu_medical": 1089}
    assert sum(items("instructdiff-mathematics").values()) == 500 + 272 + 675 + 30 + 40


def test_the_count_is_that_of_the_weights(demo):
    with safe_open(demo / "model" / "model.safetensors", "np") as stored:  # tied weights are stored once
        num_stored = sum(math.prod(stored.get_slice(name).get_shape()) for name in list(stored.keys()))
    assert shape_of(ModelConfig(path=str(demo / "model"))).num_parameters == num_stored
    with pytest.raises(UserError, match="gpt2"):
        shape_from_config({"model_type": "gpt2"}, "x")


def test_lora_of_7b_has_the_parameters_that_peft_reports():
    shape = shape_from_config(LLAMA_2_7B, "x")
    assert shape.lora_parameters(16, "all-linear") == 39_976_960
    assert shape.lora_parameters(8, ("q_proj", "v_proj")) == 4_194_304


def test_training_costs_six_or_four_operations_and_two_more_with_recomputation():
    shape = shape_from_config(LLAMA_2_7B, "x")
    matrices, layers, head = Matrices.of_shape(shape), 32 * (4 * 4096**2 + 3 * 4096 * 11008), 32000 * 4096
    assert matrices.training_flops(3, 0, 0, recomputes=False) == 3 * 6 * (layers + head)
    assert matrices.training_flops(3, 0, 7, recomputes=False) == 3 * (4 * (layers + head) + 6 * 7)
    assert matrices.training_flops(3, 0, 0, recomputes=True) == 3 * (8 * layers + 6 * head)
    pairs = matrices.training_flops(3, 9, 0, recomputes=False) - matrices.training_flops(3, 0, 0, recomputes=False)
    assert pairs == 3 * 4 * 4096 * 32 * 9


def test_counted_tokens_are_those_that_training_sees(demo, tmp_path):
    """Against the real template and tokenizer of a training run."""
    from selectit.config import PoolConfig
    from selectit.data.conversations import as_conversation
    from selectit.data.pool import read_pool
    from selectit.finetune.dataset import tokenize
    from selectit.inference.load import load_tokenizer

    pool, model = PoolConfig(path=str(demo / "pool.json"), limit=30), ModelConfig(path=str(demo / "model"))
    finetune = FinetuneConfig(max_length=96, max_truncated_share=1)
    conversations = [as_conversation(row.row_id, row.messages, finetune.template) for row in read_pool(pool)]
    real = tokenize(conversations, load_form(finetune.template, load_tokenizer(model)), finetune)
    row = tokens.tokens_per_row(pool, model, finetune.template, finetune.max_length)
    assert row.mean * 30 == pytest.approx(real.num_tokens, rel=0.02) and "all 30 rows" in row.how
    squares = sum(len(one.input_ids) ** 2 for one in real.rows)
    assert row.mean_square * 30 == pytest.approx(squares, rel=0.03)


@pytest.mark.parametrize("text", ["conditioned", "marker", "bare"])
def test_counted_tokens_of_losses_are_those_that_are_read(demo, text):
    """Against the texts of a losses stage, made with transformers."""
    from selectit.config import LossStage, PoolConfig
    from selectit.cost.passes import loss_passes
    from selectit.inference.load import load_tokenizer
    from selectit.scoring.loss_texts import index_losses, loss_batches

    pool, model = PoolConfig(path=str(demo / "pool.json"), limit=60), ModelConfig(path=str(demo / "model"))
    config = LossStage(pool=pool, model=model, text=text, template="alpaca")
    count, how = loss_passes(config, on_gpu=False)
    index = index_losses(pool)
    real = BatchCount(count.matrices, pads=False, every_logit=True)
    for batch in loss_batches(load_tokenizer(model), config, index, np.zeros(60, dtype=bool), 1024, pads=False):
        real.add(batch)
    assert "all 60 rows" in how and count.num_texts == real.num_texts
    assert count.num_tokens == pytest.approx(real.num_tokens, rel=0.05)
    assert count.num_positions == pytest.approx(real.num_positions, rel=0.05)
    assert count.flops == pytest.approx(real.flops, rel=0.05)


def test_rows_that_are_drawn_stand_for_all_rows_and_prefixes_are_counted_once(demo, monkeypatch):
    from selectit.config import PoolConfig, ScoreStage
    from selectit.cost import passes

    config = ScoreStage(
        pool=PoolConfig(path=str(demo / "pool.json"), limit=200), model=ModelConfig(path=str(demo / "model")),
        prompts=("A long rating prompt that all of the texts share, from 1 to 5:\n\n",),
    )  # fmt: skip
    whole, _ = passes.rating_passes(config, on_gpu=False)
    monkeypatch.setattr(tokens, "SAMPLE_ROWS", 100)
    drawn, how = passes.rating_passes(config, on_gpu=False)
    assert "100 of 200 rows" in how and drawn.num_texts == whole.num_texts == 200
    assert drawn.num_positions == pytest.approx(whole.num_positions, rel=0.1)
    assert drawn.flops == pytest.approx(whole.flops, rel=0.1)
    assert drawn.shared_positions == whole.shared_positions > 10


def test_without_a_tokenizer_four_characters_are_a_token(demo, tmp_path):
    from selectit.config import PoolConfig, ScoreStage
    from selectit.cost.passes import rating_passes

    (tmp_path / "config.json").write_bytes((demo / "model" / "config.json").read_bytes())
    pool = PoolConfig(path=str(demo / "pool.json"), limit=20)
    config = ScoreStage(pool=pool, model=ModelConfig(path=str(tmp_path)), prompts=("Rate it.\n\n",))
    count, how = rating_passes(config, on_gpu=False)
    assert how.startswith("4 characters a token assumed")
    texts = [len(rating_text("Rate it.\n\n", row.instruction, row.response)) for row in tokens.pool_rows(pool)]
    assert sum(texts) / 4 <= count.num_tokens < sum(texts) / 4 + len(texts)


@pytest.fixture
def work(tmp_path, demo):
    return Work(tmp_path, demo)


def price(work: Work, *more) -> str:
    return call("plan", work.recipe, "--runs-dir", work.runs, "--price", *more)


def test_a_plan_has_a_price_with_its_assumptions(work):
    text = price(work, "--tflops", 100)
    line = next(line for line in text.splitlines() if line.startswith("finetune selectit (train seed 1)"))
    assert "unknown" not in line and "MiB" in line
    assert "100 TFLOP/s of a GPU stated, of which 40% is reached" in text and "If started now, it finishes on" in text
    assert "all 20 rows" in text and "upper bound" in text


def test_twice_the_speed_is_half_the_time(work):
    def total(*more) -> float:
        line = next(line for line in price(work, *more).splitlines() if line.startswith("in total"))
        return float(line.split()[2])

    assert total("--tflops", "0.001") == pytest.approx(2 * total("--tflops", "0.002"), rel=0.01)
    assert total("--tflops", "0.001", "--utilisation", "0.8") == pytest.approx(total("--tflops", "0.002"), rel=0.01)


def test_without_a_speed_time_is_unknown_and_gives_the_reason(work, monkeypatch):
    monkeypatch.setenv("PATH", "")
    text = price(work)
    assert "no finished stage like it on this device; give --tflops, or --measure" in text
    assert "stages unknown" in text and "If started now" not in text


def test_done_stages_cost_nothing_and_show_how_fast_the_next_ones_are(work, monkeypatch):
    monkeypatch.setenv("PATH", "")
    work.finish()
    text = price(work)
    assert (
        "17 done stages cost nothing" in text
        and "finetune selectit" not in text.partition("Estimated remaining cost")[2]
    )
    text = price(work, "--set", "finetune.learning_rate=1e-5").partition("Estimated remaining cost")[2]
    assert "finetune-lora: as fast as finetune-lora-" in text and "unknown" not in text
    line = next(line for line in text.splitlines() if line.startswith("evaluate mmlu of random (train seed 1)"))
    assert "7 min 30 s" in line  # 36 questions of the demonstration's four subjects, against 8 items in 100 s


def test_what_cannot_be_known_is_named_and_not_guessed(work, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    work.write({**work.raw, "model": {"path": "org/absent", "revision": "a" * 40}})
    text = price(work, "--tflops", 100)
    assert "unknown 1: the config.json of org/absent is neither in a folder here nor in the hub's cache" in text
    assert "stages unknown" in text


def test_options_of_a_price_need_a_price(work):
    assert "belong to --price" in call("plan", work.recipe, "--tflops", 100, rc=1)
    assert "exclude each other" in call("plan", work.recipe, "--price", "--tflops", 1, "--measure", rc=1)


def test_a_price_imports_no_torch(work, root: Path):
    import subprocess
    import sys

    code = (
        "import sys; from typer.testing import CliRunner; from selectit.cli.app import app;"
        f"answer = CliRunner().invoke(app, ['plan', {str(work.recipe)!r}, '--price', '--tflops', '1']);"
        "print(answer.exit_code, sorted({'torch','transformers','lm_eval','trl','datasets','peft'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert answer.stdout.strip() == "0 []", answer.stdout + answer.stderr


def test_a_judge_that_states_its_prices_costs_dollars(work):
    judge = {
        "model": "m", "verdict": "logprobs", "usd_per_million_input_tokens": 2.5, "usd_per_million_output_tokens": 10,
    }  # fmt: skip
    work.write({**work.raw, "evaluate": {
        **work.raw["evaluate"], "profile": "paper-2023", "data": str(Path(work.raw["evaluate"]["data"])),
        "benchmarks": ["alpaca_eval"], "judge": judge,
    }})  # fmt: skip
    text = price(work, "--tflops", 100)
    total = next(line for line in text.splitlines() if line.startswith("in total")).split()
    models = 5  # base, and two trainings of each of two arms
    items = 8  # of the demonstration's file
    tokens = items * (200 + 70 + 2 * 256)  # prompt, instruction, two answers of 256 tokens
    assert total[-1] == f"{models * (tokens * 2.5 + items * 10) / 1e6:.2f}" and total[-2] == f"{models * items}"
    assert "judge USD" in text and "at the prices in evaluate.judge" in text
    del judge["usd_per_million_input_tokens"]
    work.write(work.raw)
    assert "judge USD" not in price(work, "--tflops", 100)


@pytest.mark.parametrize(
    ("profile", "benchmark", "items"),
    [("medical", "mmlu_medical", 1089), ("instructdiff-medical", "mmlu_medical", 2739), ("mathematics", "aime24", 30),
     ("instructdiff-mathematics", "olympiadbench", 675)],
)  # fmt: skip
def test_the_items_of_a_benchmark_are_those_that_its_profile_asks(profile, benchmark, items):
    from selectit.cost.work import num_items
    from selectit.evaluate.profile import load_profile

    assert num_items(load_profile(profile).benchmarks[benchmark], None) == items


def test_replayed_and_held_out_rows_and_kept_epochs_are_in_the_price(work):
    from selectit.cost.work import training_disk, work_of
    from selectit.plan.build import build
    from selectit.recipe.load import load

    def stage(*overrides, num_epochs=2):
        plan = build(load(work.recipe, (f"finetune.num_train_epochs={num_epochs}", *overrides)))
        return next(s for s in plan.stages if s.kind == "finetune-lora" and plan.title(s).startswith("finetune random"))

    def priced(*overrides) -> float:
        return work_of(stage(*overrides), on_gpu=False).flops

    plain = priced()
    assert priced(f"finetune.replay={{path: {work.raw['pool']['path']}, share: 0.5}}") == pytest.approx(2 * plain)
    # of the 4 selected rows 1 is read forward after each of two epochs, and 3 are trained on
    config = stage().config
    shape, pool = shape_of(config.model), stage().inputs[0][1].config.pool
    row = tokens.tokens_per_row(pool, config.model, config.finetune.template, config.finetune.max_length)
    matrices, adapter = Matrices.of_shape(shape), shape.lora_parameters(16, "all-linear")
    forward = matrices.forward_flops(row.mean, row.mean_square, row.mean)
    share = forward / matrices.training_flops(row.mean, row.mean_square, adapter, recomputes=True)
    assert priced("finetune.validation={share: 0.25}") == pytest.approx(plain * (3 + share) / 4)
    disk = training_disk(stage().config, 4)
    kept = training_disk(stage("evaluate.checkpoints=all", num_epochs=4).config, 4)
    assert kept[0] == 4 * disk[0] and kept[1] == disk[1]
    few = training_disk(stage("finetune.optimizer=adafactor").config, 4)
    assert few[1] < 0.4 * disk[1]


def test_items_are_those_of_the_files_here_and_of_the_published_sets_elsewhere(demo, tmp_path):
    from selectit.config import BenchmarkConfig
    from selectit.cost.work import num_items
    from selectit.evaluate.profile import load_profile

    gsm8k = BenchmarkConfig(name="gsm8k", metric="exact_match,flexible-extract")
    lines = (demo / "benchmarks" / "gsm8k" / "test.jsonl").read_text().splitlines()
    assert num_items(gsm8k, None, str(demo / "benchmarks")) == len(lines) < 1319
    assert num_items(gsm8k, 3, str(demo / "benchmarks")) == 3
    assert num_items(gsm8k, None) == num_items(gsm8k, None, str(tmp_path)) == 1319
    mmlu = load_profile("miniature").benchmarks["mmlu"]
    counts = [
        len((demo / "benchmarks" / "mmlu" / "test" / f"{subject}_test.csv").read_text().strip().splitlines())
        for subject in mmlu.tasks
    ]
    assert num_items(mmlu, 2, str(demo / "benchmarks")) == sum(min(2, count) for count in counts)


def rated(row_ids, prompt):
    from selectit.scoring.ledger import Record

    return [Record(row_id, prompt, [0.1] * 5, 0.5, 20, False, digest=b"0" * 16) for row_id in row_ids]


def test_what_an_unfinished_ledger_holds_costs_nothing(work):
    """A folder as a killed run leaves it; the price is that of the rows that are left."""
    import json

    from selectit.plan.build import build
    from selectit.plan.status import inspect
    from selectit.recipe.load import load
    from selectit.scoring.ledger import LedgerWriter
    from selectit.store.names import STAGE_FILE
    from selectit.store.runs_folder import Store

    plan, store = build(load(work.recipe)), Store(work.runs)
    stage = next(stage for stage in plan.stages if stage.kind == "score")
    ids = [row.row_id for row in tokens.pool_rows(stage.config.pool)]
    title, prompts = plan.title(stage), range(len(stage.config.prompts))

    def pflop() -> float:
        line = next(line for line in price(work, "--tflops", 100).splitlines() if line.startswith(title))
        return float(line.removeprefix(title).split()[0])

    def write(row_ids, prompt) -> None:
        writer = LedgerWriter(folder)
        writer.add(rated(row_ids, prompt))
        writer.flush()

    fingerprint = inspect(plan, store)[stage].fingerprint
    whole, folder = pflop(), store.folder("score", fingerprint)
    folder.mkdir(parents=True)
    (folder / STAGE_FILE).write_text(json.dumps({"fingerprint": fingerprint}))
    assert pflop() == whole
    for prompt in prompts:
        write(ids[: len(ids) // 2], prompt)
    assert 0.35 * whole < pflop() < 0.65 * whole
    assert f"{len(ids) // 2 * len(prompts)} of {len(ids) * len(prompts)} in the unfinished ledger" in price(work)
    before = sorted(folder.rglob("*"))
    for prompt in prompts:
        write(ids[len(ids) // 2 :], prompt)
    assert pflop() == 0 and set(before) < set(folder.rglob("*"))  # a price deletes and writes nothing


def test_losses_that_are_written_down_are_left_out(demo, tmp_path):
    from selectit.config import LossStage, PoolConfig
    from selectit.cost.kept import Kept
    from selectit.cost.passes import loss_passes
    from selectit.scoring.ledger import LedgerWriter
    from selectit.scoring.loss_ledger import SCHEMA, LossRecord

    model = ModelConfig(path=str(demo / "model"))
    pool = PoolConfig(path=str(demo / "pool.json"), limit=30)
    config = LossStage(pool=pool, model=model, text="marker", template="alpaca")
    writer = LedgerWriter(tmp_path, SCHEMA)
    ids = [row.row_id for row in tokens.pool_rows(config.pool)]
    writer.add([LossRecord(one, config.text, 1.0, 3, 1.0, 9, False) for one in ids[:12]])
    writer.flush()
    count, how = loss_passes(config, on_gpu=False, kept=Kept(tmp_path))
    assert count.num_texts == 18 and "all 18 rows, 12 of 30 in the unfinished ledger" in how


def test_steps_and_answers_that_are_there_are_left_out(work, tmp_path):
    import json

    from selectit.cost.kept import Kept
    from selectit.cost.work import work_of
    from selectit.plan.build import build
    from selectit.recipe.load import load

    stages = build(load(work.recipe)).stages
    training = next(stage for stage in stages if stage.kind == "finetune-lora")
    for step, is_complete in ((2, True), (3, True), (5, False)):
        checkpoint = tmp_path / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 6}))
        if is_complete:
            (checkpoint / "complete.json").write_text("{}")
    whole, half = (work_of(training, False, kept) for kept in (Kept(), Kept(tmp_path)))
    assert half.flops == pytest.approx(whole.flops / 2) and half.num_tokens == pytest.approx(whole.num_tokens / 2)

    evaluation = next(s for s in stages if s.kind == "evaluate" and s.config.benchmark.max_gen_toks)
    items = int(work_of(evaluation, False).num_items)
    (tmp_path / "answers.jsonl").write_text('["key", "text", 9, "end"]\n' * (items // 2))
    whole, half = (work_of(evaluation, False, kept) for kept in (Kept(), Kept(tmp_path)))
    assert half.num_items == items - items // 2 and half.decode_flops == whole.decode_flops * half.num_items / items


@pytest.mark.parametrize("shares", [True, False])
def test_worked_examples_that_prompts_share_are_counted_once_for_each_task(shares, tmp_path):
    import json

    from selectit.cost.work import work_of
    from selectit.evaluate.benchmarks.registry import benchmarks
    from selectit.evaluate.stage_config import EvaluateStage
    from selectit.plan.graph import Stage

    config = LLAMA_2_7B if shares else {**MISTRAL_7B, "sliding_window": 4096}
    (tmp_path / "config.json").write_text(json.dumps(config))
    bbh = load_profile("paper-2023").benchmarks["bbh"].model_copy(update={"items_per_task": None})
    stage = Stage("evaluate", EvaluateStage(model=ModelConfig(path=str(tmp_path)), benchmark=bbh, data="hub"))
    size = benchmarks()["bbh"].size
    own = size.num_items * (size.prompt_tokens - size.shared_tokens) + 27 * size.shared_tokens
    read = own if shares else size.num_items * size.prompt_tokens
    matrices = Matrices.of_shape(shape_from_config(config, "x"))
    weights = 2 * (read * matrices.layers + size.num_items * matrices.head)
    assert 1 < work_of(stage, on_gpu=True).prompt_flops / weights < 1.05  # the rest is attention
