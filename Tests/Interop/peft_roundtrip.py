"""Checks that transformers and peft compute what Swiftlet says: exit code 0 when they do.

    python peft_roundtrip.py EXPECTED MODEL [ADAPTER]

EXPECTED is a safetensors file with ids (1, T) and logits (T, vocabulary); MODEL a folder for transformers; ADAPTER
one for peft. AdapterInteropTests runs this in float32 when Python has both libraries.
"""
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-5


def main(expected, model, adapter=None):
    expected = load_file(expected)
    model, report = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
    problems = {key: report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[key]}
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
        # Once more, for what it says of the keys.
        result = model.load_adapter(adapter, "again")
        missing = [key for key in result.missing_keys if ".again." in key or key.endswith(".again")]
        problems |= {"adapter": names for names in (missing, result.unexpected_keys) if names}
    with torch.no_grad():
        logits = model.eval()(input_ids=expected["ids"].long()).logits[0]
    error = ((logits - expected["logits"]).norm() / expected["logits"].norm()).item()
    print(f"relative error {error:.2e}", problems or "")
    return 0 if error < TOLERANCE and not problems else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
