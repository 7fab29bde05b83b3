"""What the GPU's options do to the loss, for each row of gpu.sh: python quality_gpu.py SWIFTLET MODELS_FOLDER [--rows 7b 0.5b ...]

Trains the row's model (random weights: gpu.sh makes them in $MODELS) for 100 steps on real text, this repository's sources and
documentation, packed to the row's length: first in bfloat16 with everything kept, then with each of the row's options. Prints one JSON line
for each: the loss of the last step and of held-out text, what they differ by from the first run's, and the largest difference of any step.
A step has one or two rows where the row's own has eight, so that 100 take no longer than need be, and the
row of 32,768 tokens has three steps. The lines in results/ are this output.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

OFFLOADED = {"gradient_checkpointing": "full", "activation_offloading": "true"}
# Row: model, its other settings, its options and the steps.
ROWS = {
    "7b": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 4096}, {
        "8230 MB": {"memory_budget": "8230MB"}, "fp8": {"compute": "fp8"}}, 100),
    "7b-512": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 512, "per_device_train_batch_size": 2}, {
        "6122 MB": {"memory_budget": "6122MB"}, "least memory": OFFLOADED, "fp8": {"compute": "fp8"},
        "fp8, 6122 MB": {"compute": "fp8", "memory_budget": "6122MB"}}, 100),
    "7b-32k": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 32768}, {"15472 MB": {"memory_budget": "15472MB"}}, 3),
    "0.5b": ("qwen2.5-0.5b", {"load_in_4bit": "true", "max_seq_length": 512, "per_device_train_batch_size": 4}, {
        "least memory": OFFLOADED, "fp8": {"compute": "fp8"}}, 100),
    "1.5b": ("qwen2.5-1.5b", {"max_seq_length": 2048}, {
        "4318 MB": {"memory_budget": "4318MB"}, "fp8": {"compute": "fp8"}}, 100),
}
COMMON = {
    "packing": "true", "target_modules": "all-linear", "r": "16", "lora_alpha": "16", "optim": "adamw_8bit", "learning_rate": "2e-4",
    "warmup_steps": "5", "logging_steps": "1", "save_strategy": "no", "seed": "3407", "per_device_train_batch_size": "1",
    "num_train_epochs": "1000", "eval_strategy": "steps"}


def write_text(folder):
    """Files of this repository in pieces of 6,000 characters. Each twentieth is not trained on; of these each fifth is held out."""
    root = pathlib.Path(__file__).resolve().parent.parent
    names = sorted(name for place in ("Sources", "Tests", "docs") for name in (root / place).rglob("*")
                   if name.suffix in (".swift", ".md", ".c", ".cu", ".py"))
    pieces = []
    for name in names:
        text = name.read_text(errors="replace")
        pieces += [text[at : at + 6000] for at in range(0, len(text), 6000)]
    for file, chosen in (("train", lambda i: i % 20), ("heldout", lambda i: i % 100 == 0)):
        with open(folder / f"{file}.jsonl", "w") as out:
            out.writelines(json.dumps({"text": text}) + "\n" for i, text in enumerate(pieces) if chosen(i))


def train(swiftlet, device, model, folder, settings, steps):
    output = folder / "run"
    config = folder / "config.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in {
        **COMMON, "model_name_or_path": model, "train_file": folder / "train.jsonl", "eval_file": folder / "heldout.jsonl",
        "output_dir": output, "max_steps": steps, "eval_steps": steps, **settings}.items()))
    subprocess.run(["rm", "-rf", str(output)], check=True)
    run = subprocess.run([swiftlet, "train", str(config), "--device", device], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{settings}: {run.stderr[-1000:]}")
    log = [json.loads(line) for line in open(output / "metrics.jsonl")]
    return [entry["loss"] for entry in log if "loss" in entry], [entry["eval_loss"] for entry in log if "eval_loss" in entry][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("swiftlet")
    parser.add_argument("models")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    machine = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_text(folder)
        for row in options.rows:
            shape, settings, choices, steps = ROWS[row]
            model = os.path.join(options.models, shape)
            first = None
            for choice, changes in {"bf16, all kept": {"gradient_checkpointing": "keep"}, **choices}.items():
                losses, held_out = train(options.swiftlet, options.device, model, folder, {**settings, **changes}, steps)
                first = first or (losses, held_out)
                print(json.dumps({
                    "date": str(datetime.date.today()), "machine": machine, "command": "Benchmarks/quality_gpu.py", "row": row,
                    "options": choice, "steps": steps, "first_loss": losses[0], "last_loss": losses[-1],
                    "difference": abs(losses[-1] - first[0][-1]),
                    "largest_difference": max(abs(a - b) for a, b in zip(losses, first[0])),
                    "heldout_loss": held_out, }), flush=True)


if __name__ == "__main__":
    main()
