"""What the GPU's options do to the loss, for each row of gpu.sh: python quality_gpu.py SWIFTLET MODELS_FOLDER [--rows 7b 0.5b ...] [--options fp8 ...] [--devices cuda:0 ...]

Trains the row's model (random weights: gpu.sh makes them in $MODELS) for 100 steps on real text, this repository's sources and
documentation, packed to the row's length: first in bfloat16 with everything kept, then with each of the row's options. Prints one JSON line
for each: the loss of the last step and of held-out text, what they differ by from the first run's, and the largest difference of any step.
A step has one or two rows where the row's own has eight, so that 100 take no longer than need be. Runs of several devices go side
by side. The lines in results/ are this output.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import queue
import subprocess
import tempfile

STEPS = 100
KEPT = {"gradient_checkpointing": "keep"}
OFFLOADED = {"gradient_checkpointing": "sliced", "activation_offloading": "true"}
FP8 = {"compute": "fp8"}
# Row: model, its other settings and its options.
ROWS = {
    "7b": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 4096}, {
        "8230 MB": {"memory_budget": "8230MB"}, "least memory": OFFLOADED, "fp8": FP8,
        "fp8, 8230 MB": {**FP8, "memory_budget": "8230MB"}}),
    "7b-512": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 512, "per_device_train_batch_size": 2}, {
        "6122 MB": {"memory_budget": "6122MB"}, "least memory": OFFLOADED, "fp8": FP8,
        "fp8, 6122 MB": {**FP8, "memory_budget": "6122MB"}}),
    "7b-32k": ("qwen2-7b", {"load_in_4bit": "true", "max_seq_length": 32768}, {
        "15472 MB": {"memory_budget": "15472MB"}, "fp8": FP8}),
    "0.5b": ("qwen2.5-0.5b", {"load_in_4bit": "true", "max_seq_length": 512, "per_device_train_batch_size": 4}, {
        "least memory": OFFLOADED, "fp8": FP8}),
    "1.5b": ("qwen2.5-1.5b", {"max_seq_length": 2048}, {"4318 MB": {"memory_budget": "4318MB"}, "fp8": FP8}),
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


def train(swiftlet, device, model, text, settings):
    """The losses of all steps and of the held-out text."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = folder / "config.yaml"
        config.write_text("".join(f"{key}: {value}\n" for key, value in {
            **COMMON, "model_name_or_path": model, "train_file": text / "train.jsonl", "eval_file": text / "heldout.jsonl",
            "output_dir": folder / "run", "max_steps": STEPS, "eval_steps": STEPS, **settings}.items()))
        run = subprocess.run([swiftlet, "train", str(config), "--device", device], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"{settings}: {run.stderr[-1000:]}")
        log = [json.loads(line) for line in open(folder / "run/metrics.jsonl")]
        return [entry["loss"] for entry in log if "loss" in entry], [entry["eval_loss"] for entry in log if "eval_loss" in entry][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("swiftlet")
    parser.add_argument("models")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--options", nargs="+", help="of the rows' options; default: all")
    parser.add_argument("--devices", nargs="+", default=["cuda:0"])
    options = parser.parse_args()
    machine = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True
    ).stdout.splitlines()[0]
    free = queue.SimpleQueue()
    for device in options.devices:
        free.put(device)

    def run(row, changes):
        shape, settings, _ = ROWS[row]
        device = free.get()
        try:
            return train(options.swiftlet, device, os.path.join(options.models, shape), text, {**settings, **changes})
        finally:
            free.put(device)

    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(len(options.devices)) as pool:
        text = pathlib.Path(name)
        write_text(text)
        runs = [
            (row, choice, pool.submit(run, row, changes))
            for row in options.rows for choice, changes in {"bf16, all kept": KEPT, **ROWS[row][2]}.items()
            if changes is KEPT or not options.options or choice in options.options]
        first = {}
        for row, choice, future in runs:
            try:
                losses, held_out = future.result()
            except RuntimeError:
                pool.shutdown(cancel_futures=True)
                raise
            base = first.setdefault(row, losses)
            print(json.dumps({
                "date": str(datetime.date.today()), "machine": machine, "command": "Benchmarks/quality_gpu.py", "row": row,
                "options": choice, "steps": STEPS, "first_loss": losses[0], "last_loss": losses[-1],
                "difference": abs(losses[-1] - base[-1]),
                "largest_difference": max(abs(a - b) for a, b in zip(losses, base)),
                "heldout_loss": held_out, }), flush=True)


if __name__ == "__main__":
    main()
