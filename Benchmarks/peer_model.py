"""Writes a GGUF model as a Hugging Face folder, so that the peer loads what its users load: peer_model.py MODEL.gguf DTYPE FOLDER"""
import os
import sys

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

path, dtype, out = sys.argv[1:4]
source = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path))
config = source.config.to_dict()
config.pop("quantization_config", None)
model = LlamaForCausalLM(LlamaConfig(**config))
model.load_state_dict(source.state_dict())
model.to(getattr(torch, dtype)).save_pretrained(out)
