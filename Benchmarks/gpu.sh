#!/usr/bin/env bash
# Swiftlet beside Unsloth on this machine's GPU, in one run: random-weight models of known shapes, LoRA r=16 on all linear layers,
# 8-bit AdamW, random tokens; generation with such an adapter loaded. Prints a JSON line each and appends them to Benchmarks/results (or to $RESULTS).
#
#   Benchmarks/gpu.sh SWIFTLET TOKENIZER_DIR [ROW...]     rows: 7b 7b-512 7b-32k 0.5b 1.5b generate; default: all
#
# Python needs torch and transformers to make the models; for the peer also unsloth, trl, peft, bitsandbytes, datasets. Models are kept
# in $MODELS (default: /tmp/swiftlet-bench). The peer takes minutes a row: $PEERS names the rows that it is measured for (default: all).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
swiftlet="$1"
tokenizer="$2"
shift 2
rows=("${@:-7b}")
[ $# -gt 0 ] || rows=(7b 7b-512 7b-32k 0.5b 1.5b generate)
python="${PYTHON:-python3}"
models="${MODELS:-/tmp/swiftlet-bench}"
peers="${PEERS-7b 7b-512 7b-32k 0.5b 1.5b generate}"
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
bench() { # row, "train" or "generate", model, arguments
  local row="$1" what="$2" path="$3"
  shift 3
  local line
  line="$("$swiftlet" bench "$what" --device cuda --model "$path" "$@" 2>/dev/null | tail -n 1)"
  record "$row" "swiftlet bench $what $*" "$line"
}
warmed=""
ours() { # row, model, arguments
  local row="$1" path="$2"
  shift 2
  if [[ "$warmed" != *"$path"* ]]; then # the checkpoint into the page cache, kernels into theirs
    "$swiftlet" bench train --device cuda --model "$path" --max-seq-length 512 --batch-size 1 --steps 2 >/dev/null 2>&1 || true
    warmed+=" $path"
  fi
  bench "$row" train "$path" --optim adamw_8bit "$@"
}
python_peer() { # row, script, model, arguments
  local row="$1" script="$2" path="$3"
  shift 3
  [[ " $peers " == *" $row "* ]] || return 0
  if ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("unsloth") is None)'; then
    echo "The peer was NOT measured for $row: $python has no unsloth (see the head of this script)." >&2
    return
  fi
  local line
  line="$({ "$python" "$here/$script" --model "$path" "$@" 2>/dev/null || true; } | sed -n 's/^RESULT //p' | tail -n 1)"
  if [ -n "$line" ]; then
    record "$row" "Benchmarks/$script $*" "$line"
  else
    echo "The peer gave no figure for $row: run $script by hand to see why." >&2
  fi
}
peer() { # row, model, arguments
  local row="$1" path="$2"
  shift 2
  python_peer "$row" peer_gpu.py "$path" --impl unsloth "$@"
}

qlora=(--weights nf4)
for row in "${rows[@]}"; do
  case "$row" in
    7b)
      path="$(model qwen2-7b)"
      length=(--max-seq-length 4096)
      two=("${qlora[@]}" "${length[@]}" --batch-size 2 --gradient-accumulation 4 --steps 4)
      one=("${qlora[@]}" "${length[@]}" --batch-size 1 --gradient-accumulation 8 --steps 4)
      peer "$row" "$path" --seq 4096 --bs 2 --ga 4 --steps 5
      ours "$row" "$path" "${two[@]}"
      ours "$row, fp8" "$path" "${two[@]}" --dtype fp8
      ours "$row, 8230 MB" "$path" "${one[@]}" --memory-budget 8230
      ours "$row, fp8, 8230 MB" "$path" "${one[@]}" --memory-budget 8230 --dtype fp8
      ours "$row, least memory" "$path" "${one[@]}" --checkpointing sliced --offload true
      ;;
    7b-512)
      path="$(model qwen2-7b)"
      eight=("${qlora[@]}" --max-seq-length 512 --batch-size 8 --steps 8)
      peer "$row" "$path" --seq 512 --bs 2 --ga 4 --steps 8
      ours "$row" "$path" "${eight[@]}"
      ours "$row, 6122 MB" "$path" "${eight[@]}" --memory-budget 6122
      ours "$row, fp8, 6122 MB" "$path" "${eight[@]}" --memory-budget 6122 --dtype fp8
      ;;
    7b-32k)
      path="$(model qwen2-7b)"
      long=("${qlora[@]}" --max-seq-length 32768 --batch-size 1 --steps 3)
      peer "$row" "$path" --seq 32768 --bs 1 --ga 1 --steps 4
      ours "$row" "$path" "${long[@]}"
      ours "$row, 15472 MB" "$path" "${long[@]}" --memory-budget 15472
      ours "$row, fp8" "$path" "${long[@]}" --dtype fp8
      ;;
    0.5b)
      path="$(model qwen2.5-0.5b)"
      peer "$row" "$path" --seq 512 --bs 4 --ga 1 --steps 12
      ours "$row" "$path" "${qlora[@]}" --max-seq-length 512 --batch-size 4 --steps 40
      ;;
    1.5b)
      path="$(model qwen2.5-1.5b)"
      lora=(--weights file --max-seq-length 2048 --steps 12)
      peer "$row" "$path" --bits 16 --seq 2048 --bs 4 --ga 1 --steps 8
      ours "$row" "$path" "${lora[@]}" --batch-size 4
      ours "$row, fp8" "$path" "${lora[@]}" --batch-size 4 --dtype fp8
      ours "$row, 4318 MB" "$path" "${lora[@]}" --batch-size 1 --gradient-accumulation 4 --memory-budget 4318
      ;;
    generate)
      path="$(model qwen2-7b)"
      python_peer "$row" peer_generate.py "$path" --bs 1 16
      bench "$row" generate "$path" "${qlora[@]}" --batch-sizes 1 16
      bench "$row" generate "$path" "${qlora[@]}" --batch-sizes 64 --mixed 64
      ;;
    *)
      echo "unknown row $row" >&2
      exit 1
      ;;
  esac
done
