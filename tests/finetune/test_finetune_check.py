"""The one check of a training's inputs: what it shows, and what it finds before anything is spent."""

from __future__ import annotations

import json

import pytest
import yaml
from families import CHATML_WITH_SYSTEM, build, tokenizer_of
from tiny_training import stage_config, train, write_subset
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import PoolConfig
from selectit.errors import UserError
from selectit.finetune.check import check_inputs, check_subset
from selectit.plan.build import build as build_plan
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.run.preflight import preflight
from selectit.store.runs_folder import Store

SYSTEM = {"role": "system", "content": "Answer in one word."}


def turns(number, *before):
    return [
        *before, {"role": "user", "content": f"Capital {number}?"}, {"role": "assistant", "content": f"City{number}"},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return build("gemma2", tmp_path_factory.mktemp("gemma"))


@pytest.fixture
def pool(tmp_path):
    def write(*rows):
        path = tmp_path / "pool.jsonl"
        path.write_text("".join(json.dumps({"id": f"r{i}", "messages": row}) + "\n" for i, row in enumerate(rows)))
        return PoolConfig(path=str(path))

    return write


def test_the_check_shows_three_rows_with_what_is_trained_on_and_how_they_end(gemma, pool):
    config = stage_config(gemma, template="chat")
    reported = "\n".join(check_inputs(config, pool(*(turns(i) for i in range(4)))).lines())
    assert "answers are marks in the template" in reported and "start token: '<bos>'" in reported
    assert "a turn ends with '<end_of_turn>'" in reported and "4 rows; the longest, r0, has" in reported
    assert reported.count("»City") == 3 and "»City0<end_of_turn>" in reported and "context: 512" in reported


def test_rows_that_the_template_refuses_are_named_with_the_cure_or_counted(gemma, pool):
    rows = pool(turns(0), turns(1, SYSTEM), turns(2, {"role": "user", "content": "Hello."}))
    config = stage_config(gemma, template="chat")
    with pytest.raises(UserError, match=r"2 of 3 rows .*\(2 template_error\): row r1: .*System role.*row r2.*exclude"):
        check_inputs(config, rows)
    excluded = check_inputs(config.model_copy(update={"bad_rows": "exclude"}), rows)
    assert [row.row_id for row in excluded.rows.left_out] == ["r1", "r2"]


def test_training_leaves_such_rows_out_and_records_them(gemma, tmp_path):
    rows = [{"row_id": f"r{i}", "messages": turns(i, *([SYSTEM] if i == 1 else []))} for i in range(3)]
    rows[2]["messages"][1]["content"] = "City <bos>2"
    subset = write_subset(tmp_path / "subset", rows)
    config = stage_config(gemma, template="chat", max_steps=1, global_batch_size=2).model_copy(
        update={"bad_rows": "exclude"}
    )
    train(config, subset, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["num_rows"] == 2 and record["control_tokens"] == {"<bos>": 1}
    assert [(row["row_id"], row["kind"]) for row in record["left_out"]] == [("r1", "template_error")]
    assert json.loads((tmp_path / "out" / "trained_row.json").read_text())["row_id"] == "r0"
    with pytest.raises(UserError, match="row r1: the template refuses it"):
        train(config.model_copy(update={"bad_rows": "refuse"}), subset, tmp_path / "refused")


def test_control_tokens_can_be_refused(gemma, pool):
    rows = pool(turns(0), [{"role": "user", "content": "Mark it."}, {"role": "assistant", "content": "<eos>10<eos>"}])
    reported = "\n".join(check_inputs(stage_config(gemma, template="chat"), rows).lines())
    assert "read as plain text: <eos> (2)" in reported
    with pytest.raises(UserError, match=r"1 control_token\): row r1: its text holds <eos>"):
        check_inputs(stage_config(gemma, template="chat", control_tokens="refuse"), rows)


def test_rows_beyond_the_context_are_found_before_selection(gemma, pool):
    rows = pool(turns(0), [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "long " * 300}])
    with pytest.raises(
        UserError, match=r"row r1 has [0-9]+ tokens and the context of .* is 512; set .* to 512 or less"
    ):
        check_inputs(stage_config(gemma, template="chat", max_length=4096), rows)
    check_inputs(stage_config(gemma, template="chat", max_length=512), rows)


def test_a_tokenizer_larger_than_the_embedding_and_absent_target_modules_are_named_together(gemma, pool, tmp_path):
    rows = pool(turns(0))
    small = build("smollm2", tmp_path / "small")
    tokenizer = tokenizer_of("smollm2")
    tokenizer.add_tokens([f"word{i}" for i in range(5)])
    tokenizer.save_pretrained(small)
    config = stage_config(small, template="chat", lora={"target_modules": ("c_attn",)})
    with pytest.raises(UserError, match=r"(?s)'c_attn' is not a linear layer of LlamaForCausalLM"):
        check_inputs(config, rows)
    uses = pool([{"role": "user", "content": "word4"}, {"role": "assistant", "content": "Yes."}])
    with pytest.raises(UserError, match=r"(?s)has 338 ids and the embedding of .* 336 rows.*'c_attn'"):
        check_subset(
            config, write_subset(tmp_path / "s", [{"row_id": "a", "messages": turns("word4")}]) / "messages.jsonl"
        )
    assert uses


def recipe_file(tmp_path, model, pool, **finetune):
    recipe = {
        "name": "small", "pool": {"path": pool.path}, "model": {"path": str(model)}, "select": {"ratio": 1.0},
        "finetune": {"global_batch_size": 2, "micro_batch_size": 1, "max_length": 256, **finetune},
        "evaluate": {"profile": "miniature", "data": "hub", "benchmarks": ["gsm8k"]},
        "arms": {"random": {"select": {"strategy": "random"}}}, "baseline": "random",
    }  # fmt: skip
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_preflight_finds_the_row_before_selection(gemma, pool, tmp_path):
    rows = pool(turns(0), turns(1, SYSTEM))
    plan, store = build_plan(load(recipe_file(tmp_path, gemma, rows, template="chat"))), Store(tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    pending = [stage for stage in plan.stages if stage.kind.startswith(("select", "finetune"))]
    with pytest.raises(UserError, match="row r1: the template refuses it"):
        preflight(pending, inspect(plan, store), tmp_path / "runs")


def test_validate_inputs_runs_on_a_machine_that_could_not_train(gemma, pool, tmp_path, monkeypatch):
    monkeypatch.setattr("selectit.inference.load._load", lambda *_, **__: pytest.fail("weights were loaded"))
    template = tmp_path / "my.jinja"
    template.write_text(CHATML_WITH_SYSTEM.replace("<|im_end|>", "<end_of_turn>"))
    path = recipe_file(tmp_path, gemma, pool(turns(0), turns(1, SYSTEM)), template="my.jinja")
    out = CliRunner().invoke(app, ["validate", str(path), "--inputs"], catch_exceptions=False)
    assert out.exit_code == 0, out.output
    assert "template my.jinja" in out.output and "found by rendering" in out.output
    assert "»City1<end_of_turn>«" in out.output and "Answer in one word." in out.output
    with pytest.raises(UserError, match="row r1: the template refuses it"):
        CliRunner().invoke(
            app, ["validate", str(path), "--inputs", "--set", "finetune.template=chat"], catch_exceptions=False
        )
    with pytest.raises(UserError, match=r"there is no template 'alpcaa'; write alpaca.*Did you mean 'alpaca'\?"):
        load(path, ["finetune.template=alpcaa"])
    with pytest.raises(UserError, match=r"finetune\.template: .*other\.jinja does not exist"):
        load(path, ["finetune.template=other.jinja"])


def test_the_text_of_a_template_file_is_part_of_the_fingerprint(gemma, pool, tmp_path):
    template = tmp_path / "my.jinja"
    template.write_text(CHATML_WITH_SYSTEM)
    path = recipe_file(tmp_path, gemma, pool(turns(0)), template="my.jinja")
    plan = build_plan(load(path))

    def identities():
        store = Store(tmp_path / "runs")
        from selectit.store.fingerprint import identity

        (stage,) = (stage for stage in plan.stages if stage.kind.startswith("finetune"))
        return identity(stage.config, store.hasher)["finetune"]["template"]

    first = identities()
    template.write_text(CHATML_WITH_SYSTEM + " ")
    assert set(first) == {"sha256"} and identities() != first


def test_the_card_names_a_template_file_without_its_folder(gemma, tmp_path):
    template = tmp_path / "my.jinja"
    template.write_text(CHATML_WITH_SYSTEM.replace("<|im_end|>", "<end_of_turn>"))
    subset = write_subset(tmp_path / "subset", [{"row_id": "a", "messages": turns(0)}])
    train(stage_config(gemma, template=str(template), max_steps=1), subset, tmp_path / "out")
    adapter = tmp_path / "out" / "adapter"
    assert '"template": "my.jinja"' in (adapter / "README.md").read_text()
    assert json.loads((adapter / "trained_on.json").read_text())["form"]["template"] == "my.jinja"
    texts = [path.read_text() for path in adapter.iterdir() if path.suffix in (".json", ".md", ".jinja")]
    assert not any(str(template) in text for text in texts)
    assert (adapter / "chat_template.jinja").read_text() == template.read_text()
