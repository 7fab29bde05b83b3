"""Writes the folders family_*: a tiny random checkpoint of each family, a PEFT adapter for it, and what
transformers and peft compute with them in double precision.

    pip install torch transformers peft safetensors bitsandbytes
    python family_make.py

Each folder holds config.json and model.safetensors (float32), adapter/ as PEFT saves it, and expected.safetensors:
ids and labels (2, T); loss, logits (2, T, vocabulary) and grad.NAME of every weight for the base model; and
adapter.loss, adapter.logits and adapter.grad.NAME of every trainable tensor with the adapter.
"""
import os
import shutil

import bitsandbytes
import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTH = 12
SHAPE = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=128, rms_norm_eps=1e-5, attention_dropout=0.0,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name: architecture, settings, adapter
FAMILIES = {
    "llama": ("Llama", dict(), dict(target_modules=ALL)),
    "llama3_rope": ("Llama", dict(rope_parameters=dict(
        rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64)), dict(target_modules=ALL, use_rslora=True)),
    "linear_rope": ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
                    dict(target_modules=r".*\.(0|1)\.self_attn\.[qk]_proj")),
    "llama_bias": ("Llama", dict(attention_bias=True, mlp_bias=True, num_key_value_heads=2),
                   dict(target_modules=["q_proj", "v_proj", "down_proj"], bias="all", use_rslora=True,
                        rank_pattern={"v_proj": 3, "1.mlp.down_proj": 4}, alpha_pattern={"v_proj": 5},
                        modules_to_save=["lm_head", "embed_tokens"])),
    "mistral_window": ("Mistral", dict(sliding_window=5), dict(target_modules=ALL, layers_to_transform=[1])),
    "qwen2": ("Qwen2", dict(tie_word_embeddings=False), dict(target_modules=ALL, bias="lora_only")),
    "qwen2_tied": ("Qwen2", dict(tie_word_embeddings=True, num_attention_heads=4, num_key_value_heads=2),
                   dict(target_modules=["k_proj", "up_proj"], bias="all",
                        modules_to_save=["lm_head", "embed_tokens"])),
    "qwen2_window": ("Qwen2", dict(tie_word_embeddings=True, use_sliding_window=True, sliding_window=4,
                                   max_window_layers=1), dict(target_modules=["o_proj"])),
    "qwen3": ("Qwen3", dict(head_dim=12, tie_word_embeddings=True),
              dict(target_modules=ALL, modules_to_save=["embed_tokens"])),
    "qwen3_bias": ("Qwen3", dict(head_dim=4, attention_bias=True, tie_word_embeddings=False),
                   dict(target_modules=["q_proj", "lm_head"], bias="all")),
}


def make(architecture, settings):
    config = getattr(transformers, architecture + "Config")(**{**SHAPE, **settings})
    model = getattr(transformers, architecture + "ForCausalLM")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=0.3)
    return model.float().eval()


def batch():
    ids = torch.randint(3, SHAPE["vocab_size"], (2, LENGTH))
    labels = ids.clone()
    labels[0, :3] = -100
    labels[1, 5] = -100
    return ids, labels


def run(model, ids, labels, prefix, name=lambda n: n):
    out = model(input_ids=ids, labels=labels)
    out.loss.backward()
    result = {prefix + "loss": out.loss.detach(), prefix + "logits": out.logits.detach()}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            result[f"{prefix}grad.{name(key)}"] = parameter.grad.clone()
            parameter.grad = None
    return result


def save(tensors, path):
    save_file({k: (v.float() if v.is_floating_point() else v.int()).contiguous() for k, v in tensors.items()}, path)


def clean(folder):
    for name in ["generation_config.json", "README.md"]:
        if os.path.exists(f"{folder}/{name}"):
            os.remove(f"{folder}/{name}")


def family(name, architecture, settings, adapter):
    torch.manual_seed(sum(name.encode()))
    folder = f"{HERE}/family_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model = make(architecture, settings)
    model.save_pretrained(folder)
    ids, labels = batch()
    expected = {"ids": ids, "labels": labels, **run(model.double(), ids, labels, "")}

    lora = get_peft_model(model.float(), LoraConfig(**{"r": 2, "lora_alpha": 6, "task_type": "CAUSAL_LM", **adapter}))
    with torch.no_grad():
        for parameter in lora.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    lora.eval().save_pretrained(f"{folder}/adapter")
    plain = lambda key: key.replace(".modules_to_save", "").replace(".default", "")
    trained = {plain(key) for key, parameter in lora.named_parameters() if parameter.requires_grad}
    # Beside an adapter of the head, PEFT saves the head.
    assert set(get_peft_model_state_dict(lora)) - trained <= {"base_model.model.lm_head.base_layer.weight"}
    expected |= run(lora.double(), ids, labels, "adapter.", plain)
    save(expected, f"{folder}/expected.safetensors")
    clean(folder), clean(folder + "/adapter")


def sharded():
    """The weights of family_llama in several files."""
    folder = f"{HERE}/family_sharded"
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(f"{HERE}/family_llama")
    model.save_pretrained(folder, max_shard_size="8KB")
    clean(folder)


def quantised():
    """A model that bitsandbytes has quantised to NF4, and its logits with the weights dequantised."""
    torch.manual_seed(4)
    folder, source = f"{HERE}/family_nf4", f"{HERE}/family_nf4.source"
    shutil.rmtree(folder, ignore_errors=True)
    make("Llama", dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1)).save_pretrained(source)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(source, quantization_config=settings, device_map="cpu",
                                                 dtype=torch.float32)
    model.save_pretrained(folder)
    ids, _ = batch()
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, bitsandbytes.nn.Linear4bit):
                weight = module.weight
                plain.get_submodule(name).weight.copy_(
                    bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state))
        plain = plain.double()
        save({"ids": ids, "logits": plain(input_ids=ids).logits}, f"{folder}/expected.safetensors")
    shutil.rmtree(source)
    clean(folder)


if __name__ == "__main__":
    for name, (architecture, settings, adapter) in FAMILIES.items():
        family(name, architecture, settings, adapter)
    sharded()
    quantised()
