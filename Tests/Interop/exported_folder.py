"""Checks that transformers makes of our folders what Swiftlet says: exit code 0 when it does.

    python exported_folder.py CASES.json

A list of cases: path (the folder), texts ([text, ids]...), prompt (ids), logits (of the token after it), greedy (the ids
that follow it), tolerance (of the logits, relative). Everything is computed in float32, or for bitsandbytes' folders in
their bfloat16. ExportInteropTests runs this when Python has transformers.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def check(case):
    path, problems = case["path"], []
    tokenizer = AutoTokenizer.from_pretrained(path)
    for text, ids in case["texts"]:
        found = tokenizer(text).input_ids
        if found != ids:
            problems.append(f"other tokens of {text!r}: {found}, not {ids}")
    if not tokenizer.chat_template:
        problems.append("no chat template")
    is_quantised = "quantization_config" in json.load(open(f"{path}/config.json"))
    dtype = torch.bfloat16 if is_quantised else torch.float32
    model, report = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True)
    problems += [f"{kind}: {names}" for kind, names in report.items() if names]
    prompt = torch.tensor([case["prompt"]])
    with torch.no_grad():
        logits = model.eval()(input_ids=prompt).logits[0, -1].float()
    expected = torch.tensor(case["logits"])
    error = ((logits - expected).norm() / expected.norm()).item()
    if not error < case["tolerance"]:
        problems.append("the logits differ")
    if "greedy" in case:
        count = len(case["greedy"])
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False)
        found = out[0, prompt.shape[1]:].tolist()
        if found != case["greedy"]:
            problems.append(f"other greedy tokens: {found}, not {case['greedy']}")
    print(f"{path.split('/')[-1]}: relative error {error:.2e}", *problems, sep="\n  ")
    return not problems


if __name__ == "__main__":
    sys.exit(0 if all([check(case) for case in json.load(open(sys.argv[1]))]) else 1)
