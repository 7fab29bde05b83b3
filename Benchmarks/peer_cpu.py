"""Times LoRA fine-tuning steps of transformers + peft on the CPU: peer_cpu.py DTYPE SEQ BATCH STEPS FOLDER

The same work as `swiftlet bench train`: r=16 on every linear layer, AdamW, random tokens, every position a label. Prints one
JSON line; the first step is not counted in the median.
"""
import json
import resource
import sys
import time

START = time.time()
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

dtype, seq, batch, steps, path = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype))
modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=modules, task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
generator = torch.Generator().manual_seed(0)
seconds = []
for step in range(steps):
    ids = torch.randint(10, 49000, (batch, seq), generator=generator)
    begin = time.time()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.time() - begin)
    if step == 0:
        first = time.time() - START
median = sorted(seconds[1:])[len(seconds[1:]) // 2]
print(json.dumps({
    "dtype": dtype, "seq": seq, "bs": batch, "step_s": median, "tok_s": batch * seq / median,
    "first_from_start_s": first, "loss": float(loss),
    "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "torch": torch.__version__}))
