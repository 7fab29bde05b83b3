#!/usr/bin/env bash
# Fine-tunes SmolLM2-135M-Instruct on Examples/Demo and shows what changed: the model's answers to questions it was not
# trained on, and its loss on held-out conversations, before and after.
set -euo pipefail
cd "$(dirname "$0")/.."
swiftlet="${1:-.build/release/swiftlet}"
model=SmolLM2-135M-Instruct.Q4_1.gguf

bold() { if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$1"; else printf '%s\n' "$1"; fi; }

answers() {
  while IFS= read -r prompt; do
    bold "> $prompt"
    "$swiftlet" generate --model "$model" "$@" --chat --prompt "$prompt" --max-new-tokens 48
  done <Examples/Demo/prompts.txt
}

bold "== Before: what $model says =="
answers
echo
"$swiftlet" evaluate --model "$model" --dataset Examples/Demo/heldout.jsonl
echo
bold "== Training on 246 conversations with the keeper of a lighthouse =="
"$swiftlet" train Examples/Demo/demo.yaml --set overwrite_output_dir=true
echo
bold "== After =="
answers --adapter runs/demo
echo
"$swiftlet" evaluate --model "$model" --adapter runs/demo --dataset Examples/Demo/heldout.jsonl
echo
echo "The adapter is in runs/demo, in PEFT's format. Talk with it:"
echo "  $swiftlet chat --model $model --adapter runs/demo"
