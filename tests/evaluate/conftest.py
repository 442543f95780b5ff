"""What the evaluation tests share: where data is, a model that knows all answers, adapters, and a quiet tracker."""

import functools
import io
from pathlib import Path

import pytest
from judge_server import KEY, JudgeServer
from lm_eval.api.model import LM
from rich.console import Console

from selectit.config import JudgeConfig, ModelConfig
from selectit.evaluate import stage
from selectit.evaluate.judge.load import load_judge
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.tracking import Tracker

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


class OracleLM(LM):
    """Answers every request from its document."""

    max_length = 4096
    truncated_prompts = frozenset()
    tokenizer_name = "oracle"

    def __init__(self):
        super().__init__()
        self.prompts, self.endings = [], {}

    num_tokens = 0

    @functools.cached_property
    def tokenizer(self):
        from selectit.inference.load import load_tokenizer

        return load_tokenizer(ModelConfig(path=str(ROOT / "demo" / "model")))

    def use(self, config, template, out):
        self.template = template

    def finish(self):
        pass

    def describe(self):
        return {"dtype": "float32", "adapter": False}

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return f"<{self.template}>" + chat_history[-1]["content"]

    def loglikelihood(self, requests):
        return [(0.0 if request.idx == self.choose(request.doc) else -1.0, True) for request in requests]

    def first_tokens(self, requests):
        self.prompts += [request.args[0] for request in requests]
        return [[("ABCD"[self.choose(request.doc)], -0.1), ("The", -3.0)] for request in requests]

    def choose(self, doc):
        return next(doc[key] for key in ("answer", "label", "cop") if key in doc)

    def generate_until(self, requests):
        self.prompts += [request.args[0] for request in requests]
        return [self.answer(request.doc) for request in requests]

    def answer(self, doc):
        if "canonical_solution" in doc:
            return doc["canonical_solution"]
        if "code" in doc:
            return doc["code"]
        if "reference" in doc:
            return " " + doc["reference"]
        if "final_answers" in doc:
            return f"So it is $\\boxed{{{doc['final_answers'][0].strip('$')}}}$."
        if "output" in doc:
            return doc["output"]
        if "answers" in doc:
            return " " + doc["answers"][0]
        if "target" in doc:
            return f"Let us see. So the answer is {doc['target']}."
        return f"The answer is {doc['answer'].split('####')[-1].strip()}."

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


@pytest.fixture
def serve(monkeypatch):
    """serve(behave) is a server that answers as a judge's endpoint, with its key in the environment."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    servers = []

    def make(behave=None):
        servers.append(JudgeServer(behave))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def judge(tmp_path):
    """judge(server, **settings), as a recipe has it; a failed request is not repeated."""

    def make(server, games=False, **settings):
        usual = {"model": "judge-1", "base_url": server.url, "api_key_env": "JUDGE_KEY", "max_retries": 0}
        usual |= {"cache": str(tmp_path / "paid"), "timeout_seconds": 20}
        return load_judge(JudgeConfig(**{**usual, **settings}), games)

    return make


@pytest.fixture
def oracle(monkeypatch):
    lm = OracleLM()
    monkeypatch.setattr(stage, "load_lm", lambda *arguments: lm)
    return lm


@pytest.fixture(scope="session")
def data():
    if not (SHARED / "mmlu").is_dir():
        pytest.skip("the real benchmark files (shared/data) are not here")
    return SHARED


@pytest.fixture(scope="session")
def llama_tokenizer(data):
    """LLaMA-2's, as transformers converts it."""
    from transformers import LlamaTokenizer

    return LlamaTokenizer.from_pretrained(data / "tokenizer", add_bos_token=True)


@pytest.fixture(scope="session")
def llama_lm(llama_tokenizer):
    """With LLaMA-2's tokenizer, and weights of that vocabulary that know nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from selectit.evaluate.model.lm import EvaluatedLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return EvaluatedLM(LlamaForCausalLM(LlamaConfig(**small)), llama_tokenizer)


@pytest.fixture(scope="session")
def demo_model():
    return ModelConfig(path=str(ROOT / "demo" / "model"), dtype="float32")


@pytest.fixture(scope="session")
def demo_data():
    return ROOT / "demo" / "benchmarks"


@pytest.fixture
def config_of(demo_model, demo_data):
    """config_of(benchmark, **fields) -> the configuration that `evaluate` runs."""

    def make(name, profile="miniature", changes=None, **fields):
        benchmark = load_profile(profile).benchmarks[name].model_copy(update=changes or {})
        settings = {
            "model": demo_model,
            "benchmark": benchmark,
            "profile": profile,
            "data": str(demo_data),
            "template": "alpaca",
            "batch_size": 4,
        }
        return EvaluateStage(**{**settings, **fields})

    return make


@pytest.fixture
def evaluate(tmp_path, config_of):
    """run(benchmark, **changes) -> (what run returned, the folder it wrote)."""

    def run(name, inputs=None, **fields):
        out = tmp_path / "out" / name
        out.mkdir(parents=True, exist_ok=True)
        tracker = Tracker(out, Console(file=io.StringIO()))
        return stage.run(config_of(name, **fields), inputs or {}, out, tracker), out

    return run


def make_adapter(folder, demo_model, trained):
    """A finetune artifact with a random adapter, or with one that was never trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    from selectit.inference.load import load_model

    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=not trained)
    get_peft_model(load_model(demo_model), config).save_pretrained(folder / "adapter")
    return folder


@pytest.fixture(scope="session")
def adapter(tmp_path_factory, demo_model):
    return make_adapter(tmp_path_factory.mktemp("trained"), demo_model, trained=True)


@pytest.fixture(scope="session")
def untrained_adapter(tmp_path_factory, demo_model):
    return make_adapter(tmp_path_factory.mktemp("untrained"), demo_model, trained=False)


@pytest.fixture(scope="session")
def full_checkpoint(tmp_path_factory, demo_model):
    import torch

    from selectit.inference.load import load_model, load_tokenizer

    folder = tmp_path_factory.mktemp("full")
    model = load_model(demo_model)
    with torch.no_grad():
        model.model.norm.weight.mul_(-1)
    model.save_pretrained(folder / "model")
    load_tokenizer(demo_model).save_pretrained(folder / "model")
    return folder
