"""A FinetuneStage in the terms of TRL and PEFT: SFTConfig and LoraConfig.

What decides a published number is set here in words, never left to a library's default, for these
defaults change between releases.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig

from selectit.config import FinetuneStage
from selectit.errors import UserError, did_you_mean
from selectit.finetune.folders import find_adapter
from selectit.inference.load import device, resolve_dtype
from selectit.store.trained_on import check_base

DEEPSPEED_FOLDER = Path(__file__).parent / "deepspeed"
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit", "adafactor": "adafactor"}
"""As transformers names them; its Adafactor takes the learning rate as it is, without relative steps."""


class OneGpuPerProcess(SFTConfig):  # type: ignore[misc]
    """One process trains on one GPU, of however many it sees; transformers would wrap the model in nn.DataParallel."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


def sft_config(config: FinetuneStage, checkpoints: Path, max_steps: int | None) -> SFTConfig:
    """Args: max_steps: None: as many as `num_train_epochs` takes.

    Where `model.dtype` is a half precision, matrix products run under autocast in it; DeepSpeed keeps the
    weights in it and a float32 copy of those that are trained.
    """
    finetune, dtype = config.finetune, resolve_dtype(config.model)
    on_gpu = device().type == "cuda"
    return OneGpuPerProcess(
        output_dir=str(checkpoints),
        seed=config.seed,
        data_seed=config.seed,
        learning_rate=finetune.learning_rate,
        lr_scheduler_type=finetune.lr_scheduler_type,
        warmup_steps=finetune.warmup_ratio,  # a float below 1 is a share of all steps
        weight_decay=finetune.weight_decay,
        max_grad_norm=finetune.max_grad_norm,
        optim=OPTIMIZERS[finetune.optimizer],
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        neftune_noise_alpha=finetune.neftune_noise_alpha,
        num_train_epochs=finetune.num_train_epochs,
        max_steps=max_steps or -1,
        per_device_train_batch_size=finetune.micro_batch_size,
        gradient_accumulation_steps=finetune.accumulation_steps,
        max_length=finetune.max_length,
        packing=False,  # rows are packed in selectit.finetune.sampler, within their step
        loss_type="nll",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        activation_checkpointing=finetune.gradient_checkpointing,
        # ZeRO-3 gathers an adapter's weights again in the second forward pass only if that one is reentrant; TRL's
        # own setting of this goes by a name that transformers no longer reads
        activation_checkpointing_kwargs={"use_reentrant": is_zero3(config) and finetune.trains_adapter},
        use_cpu=not on_gpu,
        ddp_backend="gloo" if finetune.num_processes > 1 and not on_gpu else None,
        ddp_find_unused_parameters=False,
        deepspeed=None if finetune.deepspeed == "none" else str(DEEPSPEED_FOLDER / f"{finetune.deepspeed}.json"),
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=finetune.save_steps,
        save_total_limit=None,  # pruned in selectit.finetune.checkpoints
        eval_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(finetune.report_to) or "none",
        run_name=checkpoints.parent.name,
        disable_tqdm=True,
        log_level="error",
    )


def is_zero3(config: FinetuneStage) -> bool:
    return config.finetune.deepspeed.startswith("zero3")


def lora_config(config: FinetuneStage, model: PreTrainedModel) -> LoraConfig:
    """Raises: UserError where a target module is not a linear layer of this model: PEFT skips it in silence; and where
    it has no such module to save.
    """
    settings = config.finetune.lora
    if settings.target_modules != "all-linear":
        allowed = linear_layers(model)
        for name in settings.target_modules:
            if name not in allowed:
                raise UserError(
                    f"finetune.lora.target_modules: '{name}' is not a linear layer of {type(model).__name__} that "
                    f"takes an adapter; there are {', '.join(sorted(allowed))}, or all-linear."
                    f"{did_you_mean(name, allowed)}"
                )
    if settings.modules_to_save is not None:
        names = {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if next(module.parameters(False), None) is not None
        }
        for name in settings.modules_to_save:
            if name not in names:
                raise UserError(
                    f"finetune.lora.modules_to_save: '{name}' is not a module of {type(model).__name__} with weights "
                    f"of its own; there are {', '.join(sorted(names))}.{did_you_mean(name, names)}"
                )
    all_linear = settings.target_modules == "all-linear"
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules="all-linear" if all_linear else list(settings.target_modules),
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
        modules_to_save=list(settings.modules_to_save) if settings.modules_to_save else None,
        fan_in_fan_out=_has_conv1d(model),
        bias="none",
        revision=None if Path(config.model.path).exists() else config.model.revision,
    )


def linear_layers(model: PreTrainedModel) -> set[str]:
    """Last parts of the names of layers that take an adapter; GPT-2's are of a class of their own, Conv1D."""
    output = model.get_output_embeddings()
    return {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    }


def _has_conv1d(model: PreTrainedModel) -> bool:
    """Whose weights are stored the other way round."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def with_adapter(config: FinetuneStage, model: PreTrainedModel) -> PeftModel:
    """The model with the adapter that training continues from.

    Raises: UserError where its base is another one, or its settings are not those of `finetune.lora`.
    """
    folder = adapter_folder(config)
    found = check_adapter(config, model)
    found.lora_dropout = config.finetune.lora.dropout
    found.inference_mode = False
    return PeftModel.from_pretrained(model, folder, config=found, is_trainable=True)


def adapter_folder(config: FinetuneStage) -> str:
    adapter = config.finetune.adapter
    assert adapter is not None
    return str(find_adapter(Path(adapter))) if Path(adapter).exists() else adapter


def check_adapter(config: FinetuneStage, model: PreTrainedModel) -> LoraConfig:
    """Args:    model: may be a skeleton.
    Returns: the adapter's own settings.
    Raises:  as `with_adapter`.
    """
    folder = adapter_folder(config)
    check_base(folder, config.model)
    found, wanted = PeftConfig.from_pretrained(folder), lora_config(config, model)
    if not isinstance(found, LoraConfig):
        raise UserError(
            f"finetune.adapter {folder} is of the kind {found.peft_type}, and methods lora and qlora continue from LoRA"
        )
    pairs = {
        "r": (found.r, wanted.r),
        "alpha": (found.lora_alpha, wanted.lora_alpha),
        "use_rslora": (found.use_rslora, wanted.use_rslora),
        "use_dora": (found.use_dora, wanted.use_dora),
        "target_modules": (_layers(found, model), _layers(wanted, model)),
        "modules_to_save": (sorted(found.modules_to_save or ()), sorted(wanted.modules_to_save or ())),
    }
    if differing := [f"{name} {own} (here {here})" for name, (own, here) in pairs.items() if own != here]:
        raise UserError(
            f"finetune.adapter {folder} has other settings than finetune.lora: {', '.join(differing)}. An adapter that "
            "training continues from keeps its form; set finetune.lora to its values"
        )
    return found


def _layers(settings: LoraConfig, model: PreTrainedModel) -> list[str]:
    """Last parts of the names of its target modules."""
    modules = settings.target_modules
    if isinstance(modules, str):
        return sorted(linear_layers(model)) if modules == "all-linear" else [modules]
    return sorted({name.rpartition(".")[2] for name in modules or ()})


def quantization(config: FinetuneStage) -> BitsAndBytesConfig:
    """The base of `qlora`: 4-bit NormalFloat, its scales quantised again, products in `model.dtype`.

    Source: QLoRA (arXiv 2305.14314), sections 3 and 4.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=resolve_dtype(config.model),
    )
