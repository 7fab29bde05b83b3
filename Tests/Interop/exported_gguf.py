"""Checks that llama.cpp makes of our GGUF files what Swiftlet says: exit code 0 when it does.

    pip install llama-cpp-python
    python exported_gguf.py CASES.json

A list of cases: path, lora (an adapter's file, optional), texts ([text, ids]...), prompt (ids), greedy (the ids that
follow it; optional), architecture. ExportInteropTests runs this when Python has llama-cpp-python.
"""
import json
import os
import sys

from llama_cpp import Llama


def check(case):
    problems = []
    llama = Llama(case["path"], lora_path=case.get("lora"), n_ctx=256, n_threads=2, verbose=False)
    for text, ids in case["texts"]:
        found = llama.tokenize(text.encode(), add_bos=True, special=True)
        if found != ids:
            problems.append(f"other tokens of {text!r}: {found}, not {ids}")
    if "tokenizer.chat_template" not in llama.metadata:
        problems.append("no chat template")
    found = []
    for token in llama.generate(case["prompt"], temp=0.0, repeat_penalty=1.0):
        found.append(token)
        if len(found) >= len(case.get("greedy", [0])):
            break
    if found != case.get("greedy", found):
        problems.append(f"other greedy tokens: {found}, not {case['greedy']}")
    print(f"{os.path.basename(case['path'])}: {len(found)} tokens", *problems, sep="\n  ")
    return not problems


if __name__ == "__main__":
    sys.exit(0 if all([check(case) for case in json.load(open(sys.argv[1]))]) else 1)
