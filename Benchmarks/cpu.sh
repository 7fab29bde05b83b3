#!/usr/bin/env bash
# Swiftlet beside transformers + peft on this machine's processor, in one run: LoRA r=16 on every linear layer of SmolLM2-135M,
# 4 sequences of 512 random tokens a step. Prints a JSON line each and appends them to Benchmarks/results.
#
# Python needs torch, transformers, peft and gguf: `python3 -m venv .venv && .venv/bin/pip install torch transformers peft gguf`.
set -euo pipefail
cd "$(dirname "$0")/.."
swiftlet="${1:-.build/release/swiftlet}"
python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"
model="${XDG_CACHE_HOME:-$HOME/.cache}/swiftlet/models/SmolLM2-135M-Instruct.Q4_1.gguf"
results="Benchmarks/results/cpu-$(date +%Y-%m-%d).jsonl"
mkdir -p Benchmarks/results

ours=("$swiftlet" bench train --model "$model" --max-seq-length 512 --batch-size 4 --steps 6)
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"

record() { # command, JSON
  printf '{"date": "%s", "machine": "%s", "command": "%s", %s\n' "$(date +%Y-%m-%d)" "$machine" "$1" "${2#\{}" | tee -a "$results"
}

record "swiftlet bench train" "$("${ours[@]}")"
record "swiftlet bench train, memory budget 1000 MB" "$("${ours[@]}" --memory-budget 1000)"
if ! "$python" -c 'import torch, transformers, peft, gguf' 2>/dev/null; then
  echo "The peer was NOT measured: $python lacks torch, transformers, peft or gguf (see the head of this script)." >&2
  exit 0
fi
for dtype in bfloat16 float32; do
  folder=".build/peer-model-$dtype"
  [ -d "$folder" ] || "$python" Benchmarks/peer_model.py "$model" "$dtype" "$folder" 2>/dev/null
  record "Benchmarks/peer_cpu.py $dtype" "$("$python" Benchmarks/peer_cpu.py "$dtype" 512 4 4 "$folder" 2>/dev/null | tail -n 1)"
  record "swiftlet bench train, again" "$("${ours[@]}")"
done
