"""The base of an adapter: the one that it was trained on is merged, evaluated and published, and no other."""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from hub_cache import ModelCache
from peft import PeftModel
from tiny_training import build_tiny_llama, stage_config, train
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import FinetuneStage, ModelConfig
from selectit.errors import UserError
from selectit.evaluate.model.load import forget_lm, load_lm
from selectit.evaluate.model.weights import Weights
from selectit.finetune.merge import merge
from selectit.finetune.publish import push, without_local_paths
from selectit.store.names import TRAINED_ON_FILE
from selectit.store.trained_on import base_of, check_base, identify_base

IDS = torch.arange(3, 40)[None]


def scaled(model, folder, factor):
    """The same architecture with other weights, in files of the same size."""
    shutil.copytree(model, folder)
    changed = AutoModelForCausalLM.from_pretrained(model)
    for parameter in changed.parameters():
        parameter.data *= factor
    changed.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def other_llama(tiny_llama, tmp_path_factory):
    return scaled(tiny_llama, tmp_path_factory.mktemp("other") / "llama", 1.5)


@pytest.fixture
def hub(tmp_path, monkeypatch, tiny_llama, other_llama):
    """acme/tiny: v1 is the tiny LLaMA, main is another model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cache = ModelCache(tmp_path / "hub")
    return SimpleNamespace(
        v1=cache.add("acme/tiny", tiny_llama, "v1"), main=cache.add("acme/tiny", other_llama, "main")
    )


@pytest.fixture
def trained_on_v1(hub, subset, tmp_path):
    """As a recipe trains it: revisions are commits by then."""
    settings = stage_config(tmp_path).finetune
    config = FinetuneStage(model=ModelConfig(path="acme/tiny", revision=hub.v1), finetune=settings, seed=7)
    train(config, subset, tmp_path / "tuned")
    return tmp_path / "tuned" / "adapter"


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_an_adapter_is_merged_into_the_revision_it_was_trained_on(trained_on_v1, hub, tiny_llama, tmp_path):
    assert json.loads((trained_on_v1 / "adapter_config.json").read_text())["revision"] == hub.v1
    merge(trained_on_v1, tmp_path / "merged")
    wanted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama), trained_on_v1)
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (logits(found) - logits(wanted)).abs().max() < 1e-5
    assert hub.v1 in (tmp_path / "merged" / "README.md").read_text()


def test_another_revision_is_refused_with_both_hashes(trained_on_v1, hub, tmp_path):
    hashes = [identify_base(ModelConfig(path="acme/tiny", revision=name)).weights_sha256 for name in ("v1", "main")]
    assert hashes[0] != hashes[1]
    with pytest.raises(UserError, match=rf"(?s){hashes[0]}.*{hub.v1}.*is {hashes[1]} here"):
        merge(trained_on_v1, tmp_path / "merged", revision="main")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(UserError, match="trained on another base"):
        load_lm(ModelConfig(path="acme/tiny", revision="main"), Weights(adapter=str(trained_on_v1)))


def test_evaluation_takes_the_recorded_revision_unless_another_is_named(trained_on_v1, hub):
    assert base_of(str(trained_on_v1)) == ModelConfig(path="acme/tiny", revision=hub.v1)
    assert base_of(str(trained_on_v1), "acme/tiny").revision == hub.v1
    assert base_of(str(trained_on_v1), "acme/tiny", "main").revision == "main"
    lm = load_lm(base_of(str(trained_on_v1)), Weights(adapter=str(trained_on_v1)))
    assert lm.describe()["adapter"]
    forget_lm()


def test_the_evaluate_command_needs_no_model_where_the_adapter_names_its_base(trained_on_v1, hub, root, tmp_path):
    data = root / "demo" / "benchmarks"
    words = ["evaluate", "--profile", "miniature", "--benchmarks", "gsm8k", "--limit", "1", "--data", data]
    out = CliRunner().invoke(
        app,
        [str(w) for w in [*words, "--adapter", trained_on_v1, "--out", tmp_path / "scores"]],
        catch_exceptions=False,
    )
    assert out.exit_code == 0, out.output
    (stage,) = (tmp_path / "scores" / "artifacts").glob("evaluate-*/stage.json")
    assert json.loads(stage.read_text())["config"]["model"]["revision"] == hub.v1
    with pytest.raises(UserError, match="trained on another base"):
        CliRunner().invoke(
            app,
            [str(w) for w in [*words, "--adapter", trained_on_v1, "--revision", "main", "--out", tmp_path / "other"]],
            catch_exceptions=False,
        )


def test_a_folder_overwritten_since_the_training_is_noticed_even_with_its_old_times(other_llama, subset, tmp_path):
    base = build_tiny_llama(tmp_path / "base")
    train(stage_config(base), subset, tmp_path / "tuned")
    adapter = tmp_path / "tuned" / "adapter"
    check_base(str(adapter), ModelConfig(path=str(base)))
    weights = base / "model.safetensors"
    before = weights.stat()
    shutil.copyfile(other_llama / "model.safetensors", weights)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_size == before.st_size and weights.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(UserError, match="sha256 of its weights was"):
        merge(adapter, tmp_path / "merged")


def test_the_same_weights_elsewhere_are_the_same_base(trained_on_v1, tiny_llama, tmp_path):
    copy = shutil.copytree(tiny_llama, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "transformers_version": "9", "use_cache": False}))
    merge(trained_on_v1, tmp_path / "merged", model=str(copy))
    (copy / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0, "rope_parameters": None}))
    with pytest.raises(UserError, match="sha256 of its config was"):
        merge(trained_on_v1, tmp_path / "again", model=str(copy))


def test_an_adapter_from_elsewhere_is_merged_into_the_revision_that_it_names(trained_on_v1, hub, tmp_path):
    foreign = shutil.copytree(trained_on_v1, tmp_path / "foreign")
    (foreign / TRAINED_ON_FILE).unlink()
    assert base_of(str(foreign)).revision == hub.v1
    merge(foreign, tmp_path / "merged")
    merge(foreign, tmp_path / "onto_main", revision="main")
    one, other = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("merged", "onto_main"))
    assert (logits(one) - logits(other)).abs().max() > 0.1


def test_a_damaged_record_is_named(trained_on_v1):
    (trained_on_v1 / TRAINED_ON_FILE).write_text("{}")
    with pytest.raises(UserError, match=rf"{TRAINED_ON_FILE} is not the record of a training"):
        check_base(str(trained_on_v1), ModelConfig(path="acme/tiny"))


def uploaded(monkeypatch, folder, **options):
    """The files that the hub would be given, by name."""
    files = {}

    class Hub:
        def create_repo(self, *args, **kwargs):
            pass

        def upload_folder(self, folder_path, **kwargs):
            from pathlib import Path

            files.update({p.name: p.read_bytes() for p in Path(folder_path).rglob("*")})
            return "address"

    monkeypatch.setattr("selectit.store.hub.HfApi", Hub)
    monkeypatch.setattr("selectit.store.hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("selectit.store.hub.get_token", lambda: "t")
    push(folder, "me/adapter", private=True, **options)
    return files


def test_no_path_of_this_machine_is_published(train_tiny, tiny_llama, monkeypatch):
    adapter = train_tiny("out") / "adapter"
    with pytest.raises(UserError, match=r"adapter_config.json names the base by its path .*--base OWNER/NAME"):
        push(adapter, "me/adapter", private=True)
    with pytest.raises(UserError, match="is not a hub id"):
        without_local_paths(adapter, "/somewhere")
    files = uploaded(monkeypatch, adapter, base="acme/tiny")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "acme/tiny"
    assert "base_model: acme/tiny" in files["README.md"].decode()
    assert not any(str(tiny_llama).encode() in content for content in files.values())
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_llama)


def test_a_base_of_the_hub_is_published_by_its_id_and_revision(trained_on_v1, hub, monkeypatch):
    assert without_local_paths(trained_on_v1) == {}
    config = json.loads(uploaded(monkeypatch, trained_on_v1)["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/tiny", hub.v1)


def test_a_base_in_the_hubs_cache_is_published_by_its_id(hub, subset, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / hub.v1
    train(stage_config(snapshot), subset, tmp_path / "tuned")
    files = uploaded(monkeypatch, tmp_path / "tuned" / "adapter")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "acme/tiny"


def test_a_revision_of_a_folder_is_refused(tiny_llama, tmp_path):
    for words in (["finetune", "pool.json"], ["merge", "x"], ["evaluate"]):
        with pytest.raises(UserError, match="--revision v1 is of a hub model"):
            CliRunner().invoke(
                app,
                [*words, "--model", str(tiny_llama), "--revision", "v1", "--out", str(tmp_path / "o")],
                catch_exceptions=False,
            )


def test_the_finetune_command_trains_the_named_revision_in_the_named_type(hub, demo, tmp_path):
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps(json.loads((demo / "pool.json").read_text())[:4]))
    words = [
        "finetune",
        pool,
        "--model",
        "acme/tiny",
        "--revision",
        "v1",
        "--dtype",
        "float32",
        "--out",
        tmp_path / "o",
    ]
    settings = [
        "max_steps=1",
        "micro_batch_size=1",
        "global_batch_size=4",
        "warmup_ratio=0.0",
        "max_truncated_share=1.0",
    ]
    words += [word for setting in settings for word in ("--set", setting)]
    out = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert out.exit_code == 0, out.output
    assert base_of(str(tmp_path / "o" / "adapter")).revision == hub.v1


def test_a_sharded_base_and_an_adapter_of_the_hub_are_known_by_what_is_in_the_cache(tiny_llama, hub, tmp_path):
    sharded = shutil.copytree(tiny_llama, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(sharded, max_shard_size="40KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    cache = ModelCache(tmp_path / "hub")
    cache.add("acme/sharded", sharded, "main")
    found, folder = (identify_base(ModelConfig(path=str(path))) for path in ("acme/sharded", sharded))
    assert found.weights_sha256 == folder.weights_sha256 != identify_base(ModelConfig(path="acme/tiny")).weights_sha256
    last = sorted(sharded.glob("model-*.safetensors"))[-1]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    assert identify_base(ModelConfig(path=str(sharded))).weights_sha256 != found.weights_sha256

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "acme/tiny", "revision": "v1"}))
    cache.add("acme/adapter", foreign, "main")
    assert base_of("acme/adapter") == ModelConfig(path="acme/tiny", revision="v1")
    check_base("acme/adapter", ModelConfig(path="acme/tiny"))  # nothing to test against
