"""Checks that transformers and peft compute what Swiftlet says: exit code 0 when they do.

    python peft_roundtrip.py FOLDER...

Each folder holds expected.safetensors, with ids (1, T) and logits (T, vocabulary), and either model/ for
transformers or adapter/ for peft, which names its base model. AdapterInteropTests runs this, in float32, when Python
has both libraries.
"""
import json
import os
import sys

import torch
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-5


def load(path):
    model, report = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    return model, [f"{kind}: {names}" for kind, names in report.items() if names]


def load_adapter(path):
    """The adapter on its base model, and how peft's tensors differ from the file's."""
    with open(f"{path}/adapter_config.json") as file:
        model, problems = load(json.load(file)["base_model_name_or_path"])
    model = PeftModel.from_pretrained(model, path)
    stored, loaded = load_file(f"{path}/adapter_model.safetensors"), get_peft_model_state_dict(model)
    # Beside an adapter of the head, peft lists the head, which comes from the base model.
    loaded.pop("base_model.model.lm_head.base_layer.weight", None)
    problems += [f"only in one: {name}" for name in stored.keys() ^ loaded.keys()]
    problems += [f"differs: {name}" for name in stored.keys() & loaded.keys() if not stored[name].equal(loaded[name])]
    return model, problems


def check(folder):
    model, problems = load(f"{folder}/model") if os.path.exists(f"{folder}/model") else load_adapter(f"{folder}/adapter")
    expected = load_file(f"{folder}/expected.safetensors")
    with torch.no_grad():
        logits = model.eval()(input_ids=expected["ids"].long()).logits[0]
    error = ((logits - expected["logits"]).norm() / expected["logits"].norm()).item()
    if not error < TOLERANCE:
        problems.append("the logits differ")
    print(f"{os.path.basename(folder)}: relative error {error:.2e}", *problems, sep="\n  ")
    return not problems


if __name__ == "__main__":
    sys.exit(0 if all([check(folder) for folder in sys.argv[1:]]) else 1)
