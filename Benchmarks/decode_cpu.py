"""Swiftlet beside llama.cpp on this machine's processor, in one run: one request, the same GGUF, two threads or as many as given.

Decoding: tokens a second of a 128-token answer to a 64-token prompt, after its first token. Prefill: tokens a second of a 512-token prompt.
The two take turns, and the best turn of each counts: what else the machine does slows single turns down. Prints one JSON line.

    python Benchmarks/decode_cpu.py .build/release/swiftlet MODEL.gguf [--threads 2] [--turns 5]

Needs llama-cpp-python, built for this machine: CMAKE_ARGS=-DGGML_NATIVE=ON pip install llama-cpp-python.
"""

import argparse
import datetime
import json
import os
import random
import subprocess
import time

import llama_cpp

PROMPT, ANSWER, LONG_PROMPT = 64, 128, 512


def machine():
    with open("/proc/cpuinfo") as file:
        name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} cores"


def swiftlet(binary, model, dtype, threads, prompt, new):
    command = [binary, "bench", "generate", "--model", model, "--device", "cpu", "--dtype", dtype, "--r", "0"]
    command += ["--prompt-length", str(prompt), "--new-tokens", str(new), "--batch-sizes", "1"]
    # Its threads are the processors it may run on.
    cores = sorted(os.sched_getaffinity(0))[:threads]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    result = json.loads(out.stdout.splitlines()[-1])["batches"][0]
    return {"decode": result["decode_tok_s"], "prefill": 1000 * prompt / result["ttft_ms"]}


def llama_decode(llama, tokens):
    """Tokens a second, given which tokens come: choosing them is not counted against llama.cpp."""
    llama.reset()
    llama.eval(tokens[:PROMPT])
    start = time.perf_counter()
    for token in tokens[PROMPT : PROMPT + ANSWER - 1]:
        llama.eval([token])
    return (ANSWER - 1) / (time.perf_counter() - start)


def llama_prefill(llama, tokens):
    llama.reset()
    start = time.perf_counter()
    llama.eval(tokens[:LONG_PROMPT])
    return LONG_PROMPT / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    threads = options.threads
    llama = llama_cpp.Llama(
        options.model, n_ctx=1024, n_batch=LONG_PROMPT, n_ubatch=LONG_PROMPT, n_threads=threads, n_threads_batch=threads,
        verbose=False,
    )
    tokens = [random.Random(1).randrange(10, 49_000) for _ in range(LONG_PROMPT)]
    llama_decode(llama, tokens)
    turns = []
    for _ in range(options.turns):
        ours = swiftlet(options.binary, options.model, options.dtype, threads, PROMPT, ANSWER)
        long = swiftlet(options.binary, options.model, options.dtype, threads, LONG_PROMPT, 2)
        turns.append(
            {
                "swiftlet_decode": ours["decode"], "llama_decode": llama_decode(llama, tokens),
                "swiftlet_prefill": long["prefill"], "llama_prefill": llama_prefill(llama, tokens),
            }
        )
    best = {name: max(turn[name] for turn in turns) for name in turns[0]}
    print(
        json.dumps(
            {
                "date": datetime.date.today().isoformat(), "machine": machine(), "threads": threads,
                "command": "Benchmarks/decode_cpu.py", "model": os.path.basename(options.model),
                "llama_cpp_python": llama_cpp.__version__, "turns": options.turns,
                **{f"{name}_tok_s": round(rate, 1) for name, rate in best.items()},
                "decode_ratio": round(best["swiftlet_decode"] / best["llama_decode"], 2),
                "prefill_ratio": round(best["swiftlet_prefill"] / best["llama_prefill"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
