#!/usr/bin/env bash
# Swiftlet beside Unsloth on this machine's GPU, in one run: random-weight models of known shapes, LoRA r=16 on all linear layers,
# 8-bit AdamW, random tokens. Prints a JSON line each and appends them to Benchmarks/results (or to $RESULTS).
#
#   Benchmarks/gpu.sh SWIFTLET TOKENIZER_DIR [ROW...]     rows: 7b 7b-512 7b-32k 0.5b 1.5b; default: all
#
# Python needs torch and transformers to make the models; for the peer also unsloth, trl, peft, bitsandbytes, datasets. Models are kept
# in $MODELS (default: /tmp/swiftlet-bench).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
swiftlet="$1"
tokenizer="$2"
shift 2
rows=("${@:-7b}")
[ $# -gt 0 ] || rows=(7b 7b-512 7b-32k 0.5b 1.5b)
python="${PYTHON:-python3}"
models="${MODELS:-/tmp/swiftlet-bench}"
results="${RESULTS:-$here/results/gpu-$(date +%Y-%m-%d).jsonl}"
mkdir -p "$models" "$(dirname "$results")"
machine="$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"

record() { # row, command, JSON
  printf '{"date": "%s", "machine": "%s", "row": "%s", "command": "%s", %s\n' \
    "$(date +%Y-%m-%d)" "$machine" "$1" "$2" "${3#\{}" | tee -a "$results"
}
model() { # shape
  [ -d "$models/$1" ] || "$python" "$here/random_model.py" "$1" "$models/$1" "$tokenizer" >&2
  echo "$models/$1"
}
ours() { # row, model, arguments
  local row="$1" path="$2"
  shift 2
  local line
  line="$("$swiftlet" bench train --device cuda --optim adamw_8bit --model "$path" "$@" 2>/dev/null | tail -n 1)"
  record "$row" "swiftlet bench train $*" "$line"
}
peer() { # row, model, arguments
  local row="$1" path="$2"
  shift 2
  if ! "$python" -c 'import unsloth' >/dev/null 2>&1; then
    echo "The peer was NOT measured for $row: $python cannot import unsloth (see the head of this script)." >&2
    return
  fi
  local line
  line="$("$python" "$here/peer_gpu.py" --impl unsloth --model "$path" "$@" 2>/dev/null | sed -n 's/^RESULT //p' | tail -n 1)"
  [ -n "$line" ] && record "$row" "Benchmarks/peer_gpu.py --impl unsloth $*" "$line"
}

for row in "${rows[@]}"; do
  case "$row" in
    7b)
      path="$(model qwen2-7b)"
      ours "$row" "$path" --weights nf4 --max-seq-length 4096 --batch-size 2 --gradient-accumulation 4 --steps 4
      ours "$row, 8230 MB" "$path" --weights nf4 --max-seq-length 4096 --batch-size 1 --gradient-accumulation 8 --steps 4 --memory-budget 8230
      peer "$row" "$path" --seq 4096 --bs 2 --ga 4 --steps 5
      ;;
    7b-512)
      path="$(model qwen2-7b)"
      ours "$row" "$path" --weights nf4 --max-seq-length 512 --batch-size 8 --steps 8
      ours "$row, 6122 MB" "$path" --weights nf4 --max-seq-length 512 --batch-size 4 --gradient-accumulation 2 --steps 8 --memory-budget 6122
      peer "$row" "$path" --seq 512 --bs 2 --ga 4 --steps 8
      ;;
    7b-32k)
      path="$(model qwen2-7b)"
      ours "$row" "$path" --weights nf4 --max-seq-length 32768 --batch-size 1 --steps 4
      peer "$row" "$path" --seq 32768 --bs 1 --ga 1 --steps 4
      ;;
    0.5b)
      path="$(model qwen2.5-0.5b)"
      ours "$row" "$path" --weights nf4 --max-seq-length 512 --batch-size 4 --steps 40
      peer "$row" "$path" --seq 512 --bs 4 --ga 1 --steps 12
      ;;
    1.5b)
      path="$(model qwen2.5-1.5b)"
      ours "$row" "$path" --weights file --max-seq-length 2048 --batch-size 4 --steps 12
      ours "$row, 4318 MB" "$path" --weights file --max-seq-length 2048 --batch-size 1 --gradient-accumulation 4 --steps 12 --memory-budget 4318
      peer "$row" "$path" --bits 16 --seq 2048 --bs 4 --ga 1 --steps 8
      ;;
    *)
      echo "unknown row $row" >&2
      exit 1
      ;;
  esac
done
