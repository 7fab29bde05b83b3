"""Writes the small checkpoints that CheckpointTests reads.

Needs: pip install torch safetensors gguf bitsandbytes. Where a test needs reference values, they stand in the
same file under the name "<tensor>.values".
"""
import json
import pathlib

import bitsandbytes as bnb
import gguf
import numpy as np
import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
torch.manual_seed(1)

# Every type; 2 x 3 values 0 to 5.
types = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
         "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u64": torch.uint64,
         "u32": torch.uint32, "u16": torch.uint16, "u8": torch.uint8, "bool": torch.bool,
         "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2}
tensors = {name: torch.arange(6).reshape(2, 3).to(kind) for name, kind in types.items()}
tensors |= {"scalar": torch.tensor(7.0), "empty": torch.zeros(0, 4), "a.second.f32": torch.tensor([1.5, -2.0])}
save_file(tensors, here / "types.safetensors", metadata={"format": "pt"})

# Three shards.
folder = here / "sharded"
folder.mkdir(exist_ok=True)
weight_map = {}
for number in range(3):
    name = f"model-{number + 1:05}-of-00003.safetensors"
    shard = {f"layers.{number}.weight": torch.full((2, 2), float(number)), f"extra.{number}": torch.zeros(1)}
    save_file(shard, folder / name, metadata={"format": "pt"})
    weight_map[f"layers.{number}.weight"] = name
index = {"metadata": {"total_size": 48}, "weight_map": weight_map}
(folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")

# bitsandbytes: the layers' own state, as transformers saves it. (Rows of whole blocks: its CPU library decodes others
# wrong, as of 0.50.)
folder = here / "bitsandbytes"
folder.mkdir(exist_ok=True)
state = {}


def add(name, layer, values):
    for key, tensor in layer.state_dict().items():
        state[f"{name}.{key}"] = tensor.contiguous()
    state[f"{name}.values"] = values.float().contiguous()


for name, nested, storage in [("nested", True, torch.uint8), ("plain", False, torch.uint8),
                              ("stored_as_bf16", True, torch.bfloat16)]:
    layer = bnb.nn.Linear4bit(128, 10, bias=False, quant_type="nf4", compress_statistics=nested, quant_storage=storage)
    layer.weight = bnb.nn.Params4bit(torch.randn(10, 128), requires_grad=False, quant_type="nf4",
                                     compress_statistics=nested, quant_storage=storage).to("cpu")
    layer.weight._quantize(torch.device("cpu")) if layer.weight.quant_state is None else None
    add(name, layer, bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state))
codes, scales, _ = bnb.functional.int8_vectorwise_quant(torch.randn(5, 33))
state |= {"int8.weight": codes, "int8.SCB": scales, "int8.weight_format": torch.tensor(0, dtype=torch.uint8),
          "int8.values": bnb.functional.int8_vectorwise_dequant(codes, scales)}
save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

# GGUF: every metadata type, a tokenizer, plain and quantised tensors.
writer = gguf.GGUFWriter(here / "small.gguf", "llama")
writer.add_uint8("test.u8", 200)
writer.add_int8("test.i8", -100)
writer.add_uint16("test.u16", 60000)
writer.add_int16("test.i16", -30000)
writer.add_uint32("test.u32", 4000000000)
writer.add_int32("test.i32", -2000000000)
writer.add_uint64("test.u64", 2**64 - 1)
writer.add_int64("test.i64", -(2**63))
writer.add_float32("test.f32", 0.5)
writer.add_float64("test.f64", 0.1)
writer.add_bool("test.bool", True)
writer.add_string("test.string", "grüße")
writer.add_array("test.ints", [1, -2, 3])
writer.add_array("test.floats", [0.5, 1.5])
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("smollm")
writer.add_token_list(["<|end|>", "a", "Ġb"])
writer.add_token_scores([0.0, -1.0, -2.5])
writer.add_token_types([3, 1, 1])
writer.add_token_merges(["Ġ b", "a a"])
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
writer.add_add_bos_token(False)
writer.add_chat_template("{{ messages }}")
writer.add_tensor("matrix", np.arange(6, dtype=np.float32).reshape(2, 3))
writer.add_tensor("vector", np.array([0.25, -1, 8], np.float16))
for kind in (gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0):
    blocks = gguf.quantize(np.random.default_rng(2).standard_normal((3, 64)).astype(np.float32), kind)
    writer.add_tensor(kind.name.lower(), blocks, raw_dtype=kind)
    writer.add_tensor(kind.name.lower() + ".values", gguf.dequantize(blocks, kind))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
