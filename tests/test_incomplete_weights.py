"""Weights that a checkpoint or an adapter lacks, and ids that a model has no row for, are refused by every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig
from selectit.errors import UserError
from selectit.inference.adapters import load_adapter
from selectit.inference.checkpoint import missing_files
from selectit.inference.load import (
    load_model,
    load_outline,
    load_skeleton,
    load_tokenizer,
    refuse_ids_beyond_embedding,
)

SHAPE = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
LOST = "model.layers.1.self_attn.q_proj.weight"


def checkpoint(folder: Path, change=None, tied: bool = False, shards: bool = False) -> Path:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied))
    model.save_pretrained(folder, **({"max_shard_size": "8KB"} if shards else {}))
    if change is not None:
        rewrite(folder / "model.safetensors", change)
    return folder


def rewrite(file: Path, change) -> None:
    save_file(change(dict(load_file(file))), file, metadata={"format": "pt"})


def without(*keys):
    return lambda weights: {key: value for key, value in weights.items() if key not in keys}


def behind(prefix):
    return lambda weights: {prefix + key: value for key, value in weights.items()}


def with_more(**more):
    return lambda weights: {**weights, **{key.replace("__", "."): torch.zeros(*shape) for key, shape in more.items()}}


INCOMPLETE = {
    "a matrix": (without(LOST), f"lacks 1 of the 21 weights of its LlamaForCausalLM \\({LOST}\\), which would be rand"),
    "the head": (without("lm_head.weight"), r"lacks 1 of the 21 weights .* \(lm_head.weight\)"),
    "compiled": (behind("_orig_mod."), r"'_orig_mod\.' in them .* and 18 more\): .*torch\.compile"),
    "compiled inside": (
        lambda weights: {key.replace("model.", "model._orig_mod.", 1): value for key, value in weights.items()},
        r"'_orig_mod\.' .*torch\.compile",
    ),
    "DDP": (behind("module."), r"'module\.' in them .*DistributedDataParallel"),
    "PEFT": (behind("base_model.model."), r"'base_model\.model\.' in them .*adapter not merged"),
    "another shape": (
        with_more(model__norm__weight=(8,)),
        r"1 weights have another shape .*model\.norm\.weight is \[8\] in the file and \[16\] by config\.json",
    ),
    "a bias": (
        with_more(model__layers__0__self_attn__q_proj__bias=(16,)),
        r"holds 1 weights that its LlamaForCausalLM has no place for \(model\.layers\.0\.self_attn\.q_proj\.bias\)",
    ),
    "more layers": (with_more(model__layers__7__mlp__up_proj__weight=(2, 2)), r"no place for \(model\.layers\.7\.mlp"),
    "a norm": (with_more(model__layers__0__self_attn__q_norm__weight=(8,)), r"no place for .*q_norm"),
}  # fmt: skip


@pytest.mark.parametrize("load", [load_model, load_outline])
@pytest.mark.parametrize("name", INCOMPLETE)
def test_weights_that_do_not_belong_to_the_architecture_are_refused_by_name(name, load, tmp_path):
    change, says = INCOMPLETE[name]
    with pytest.raises(UserError, match=says):
        load(ModelConfig(path=str(checkpoint(tmp_path, change)), dtype="float32"))


def test_a_tied_model_without_its_embedding_is_refused(tmp_path):
    folder = checkpoint(tmp_path, without("model.embed_tokens.weight"), tied=True)
    with pytest.raises(UserError, match=r"lacks 2 .*lm_head\.weight, model\.embed_tokens\.weight"):
        load_model(ModelConfig(path=str(folder)))


WHOLE = {
    "tied": lambda folder: checkpoint(folder, tied=True),
    "tied, head saved": lambda folder: checkpoint(
        folder, lambda weights: {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}, tied=True
    ),
    "old buffers": lambda folder: checkpoint(folder, with_more(model__layers__0__self_attn__rotary_emb__inv_freq=(4,))),
    "value head": lambda folder: checkpoint(folder, with_more(v_head__summary__weight=(1, 16))),
    "body only": lambda folder: checkpoint(
        folder, lambda weights: {key.removeprefix("model."): value for key, value in weights.items()}
    ),
    "shards": lambda folder: checkpoint(folder, shards=True),
}


@pytest.mark.parametrize("load", [load_model, load_outline])
@pytest.mark.parametrize("name", WHOLE)
def test_what_only_looks_missing_is_loaded(name, load, tmp_path):
    load(ModelConfig(path=str(WHOLE[name](tmp_path)), dtype="float32"))
    assert [fault for fault in missing_files(tmp_path) if "tokenizer" not in fault] == []


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def pickled_pointer(folder: Path) -> None:
    pointer(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lost_shard(folder: Path) -> None:
    shutil.rmtree(folder)
    checkpoint(folder, shards=True)
    (folder / "model-00002-of-00004.safetensors").unlink()


DAMAGED = {
    cut: r"model\.safetensors is damaged: it has [\d,]+ bytes and its header promises [\d,]+",
    pointer: r"model\.safetensors is only a git-lfs pointer .* git lfs pull",
    pickled_pointer: r"pytorch_model\.bin is only a git-lfs pointer",
    lost_shard: r"lacks model-00002-of-00004\.safetensors of the 4 files that model\.safetensors\.index\.json names",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_are_named(damage, tmp_path):
    damage(checkpoint(tmp_path))
    with pytest.raises(UserError, match=DAMAGED[damage]):
        load_model(ModelConfig(path=str(tmp_path)))
    if damage is not cut:
        assert any("tokenizer" not in fault for fault in missing_files(tmp_path)), "before anything runs"


def test_a_pickled_checkpoint_that_is_cut_off_is_refused(tmp_path):
    weights = load_file(checkpoint(tmp_path) / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    load_model(ModelConfig(path=str(tmp_path)))
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="no model could be loaded from"):
        load_model(ModelConfig(path=str(tmp_path)))


# Every command


@pytest.fixture
def broken(demo, tmp_path) -> Path:
    """The demonstration model without one matrix."""
    shutil.copytree(demo / "model", tmp_path / "broken")
    rewrite(tmp_path / "broken" / "model.safetensors", without(LOST))
    return tmp_path / "broken"


@pytest.fixture(scope="module")
def lora(demo, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(demo / "model")
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def run(*words) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code != 0
    return f"{found.output}{found.exception}"


def commands(pool: Path, demo: Path, lora: Path, model: Path, out: Path) -> dict[str, list]:
    data = ["--data", demo / "benchmarks", "--profile", "miniature", "--benchmarks", "mmlu"]
    return {
        "score": ["score", pool, "--model", model, "--num-rating-prompts", 1, "--out", out],
        "losses": ["losses", pool, "--model", model, "--out", out],
        "finetune": ["finetune", pool, "--model", model, "--out", out],
        "evaluate": ["evaluate", "--model", model, *data, "--out", out],
        "evaluate with an adapter": ["evaluate", "--model", model, "--adapter", lora, *data, "--out", out],
        "merge": ["merge", lora, "--model", model, "--out", out],
    }


COMMANDS = tuple(commands(Path(), Path(), Path(), Path(), Path()))


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_computes_with_random_weights(name, small_pool, demo, lora, broken, tmp_path):
    said = run(*commands(small_pool, demo, lora, broken, tmp_path / "out")[name])
    assert "lacks 1 of the 39 weights" in said and LOST in said.replace("\n", ""), said


def test_a_rater_of_another_process_refuses_too(broken):
    from selectit.inference.loaded import _reading, make_rater

    with pytest.raises(UserError, match="lacks 1 of the"):
        _reading(ModelConfig(path=str(broken)), make_rater, None, "none", None, 0)


@pytest.fixture
def larger(demo, tmp_path) -> Path:
    """The demonstration model with a tokenizer that has two tokens more than the embedding has rows."""
    folder = tmp_path / "larger"
    shutil.copytree(demo / "model", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["the", "<unused>"])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["score", "losses", "evaluate"])
def test_ids_beyond_the_embedding_are_refused_with_both_sizes(name, small_pool, demo, lora, larger, tmp_path):
    said = run(*commands(small_pool, demo, lora, larger, tmp_path / "out")[name]).replace("\n", " ")
    assert "has 2050 ids" in said and "2048 rows: 'the' is id 2048" in said, said
    assert not list((tmp_path / "out").rglob("ledger.parquet"))


def test_added_tokens_that_no_text_has_may_lie_beyond_the_embedding(larger):
    config = ModelConfig(path=str(larger))
    tokenizer, model = load_tokenizer(config), load_skeleton(config)
    refuse_ids_beyond_embedding(tokenizer, model)
    refuse_ids_beyond_embedding(tokenizer, model, [tokenizer("A cat.")["input_ids"]])
    with pytest.raises(UserError, match="'<unused>' is id 2049"):
        refuse_ids_beyond_embedding(tokenizer, model, [[1, 5], tokenizer("A <unused>.")["input_ids"]])


def test_a_tokenizer_with_pieces_beyond_the_embedding_is_another_models(demo, tmp_path):
    skeleton = load_skeleton(ModelConfig(path=str(checkpoint(tmp_path))))
    with pytest.raises(UserError, match=r"has 2048 ids and the embedding of .* 64 rows"):
        refuse_ids_beyond_embedding(load_tokenizer(ModelConfig(path=str(demo / "model"))), skeleton)


ADAPTERS = {
    "a matrix": (
        without("base_model.model.model.layers.3.self_attn.v_proj.lora_B.weight"),
        r"lacks 1 weights that its adapter_config\.json asks for .*layers\.3\.self_attn\.v_proj\.lora_B",
    ),
    "compiled": (
        lambda weights: {
            key.replace("base_model.model.", "base_model.model._orig_mod."): v for key, v in weights.items()
        },
        r"lacks 16 weights .* and 13 more\): .*torch\.compile",
    ),
    "DDP": (behind("module."), r"lacks 16 weights .*DistributedDataParallel"),
    "more modules": (
        lambda weights: {
            **weights,
            "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": torch.zeros(2, 128),
        },
        r"holds 1 weights that .* has no place for .*mlp\.up_proj\.lora_A",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_whose_keys_do_not_match_is_refused(name, demo, lora, tmp_path):
    change, says = ADAPTERS[name]
    shutil.copytree(lora, tmp_path / "lora")
    rewrite(tmp_path / "lora" / "adapter_model.safetensors", change)
    with pytest.raises(UserError, match=says):
        load_adapter(load_model(ModelConfig(path=str(demo / "model"))), tmp_path / "lora", "demo")


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": "all-linear", "use_rslora": True},
        {"target_modules": ["q_proj", "embed_tokens"]},
    ],
)
def test_a_whole_adapter_is_loaded(settings, demo, tmp_path):
    config = LoraConfig(r=2, task_type="CAUSAL_LM", **settings)
    get_peft_model(load_model(ModelConfig(path=str(demo / "model"))), config).save_pretrained(tmp_path)
    load_adapter(load_model(ModelConfig(path=str(demo / "model"))), tmp_path, "demo")


def test_an_adapter_that_is_cut_off_is_refused(demo, lora, tmp_path):
    shutil.copytree(lora, tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["r"] == 2
    with pytest.raises(UserError, match="or is damaged"):
        load_adapter(load_model(ModelConfig(path=str(demo / "model"))), tmp_path / "lora", "demo")
