"""Times Unsloth's generation on a GPU: an NF4 base with a LoRA adapter attached, random prompts, no sampling.

The same work as `swiftlet bench generate --weights nf4`. Prints a line "RESULT {...}" after each number of requests, with all so far: the time
to the first token and the tokens a second after it; the first run of each is not counted. The first token is
that of all requests together, where Swiftlet's is one's. See --help.
"""
import argparse
import json
import os
import time

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a folder")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--bs", type=int, nargs="+", default=[1, 16], help="requests at once")
    return parser.parse_args()


def main():
    options = arguments()
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", UNSLOTH_DISABLE_STATISTICS="1")
    from unsloth import FastLanguageModel  # before torch: it patches

    import torch

    model, _ = FastLanguageModel.from_pretrained(
        options.model, max_seq_length=4096, dtype=torch.bfloat16, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(model, r=16, target_modules=MODULES, lora_alpha=16)
    FastLanguageModel.for_inference(model)

    def seconds(ids, new):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False,
                use_cache=True, pad_token_id=2)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    batches = []
    for size in options.bs:
        torch.cuda.reset_peak_memory_stats()
        ids = torch.randint(10, 49_000, (size, options.prompt), device="cuda")
        seconds(ids, 8)
        first = sorted(seconds(ids, 1) for _ in range(3))[1]
        whole = min(seconds(ids, options.new) for _ in range(2))
        batches.append(
            {"bs": size, "ttft_ms": 1000 * first, "decode_tok_s": size * (options.new - 1) / (whole - first),
             "peak_mb": torch.cuda.max_memory_allocated() >> 20})
        print("RESULT " + json.dumps(
            {"impl": "unsloth", "prompt": options.prompt, "new": options.new, "batches": batches}), flush=True)


if __name__ == "__main__":
    main()
