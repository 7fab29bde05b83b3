"""Writes quantization.json: blocks and their values by gguf's own code, matrices and their codes by bitsandbytes.

Needs: pip install gguf bitsandbytes torch. Arrays are hex strings of little-endian bytes.
"""
import json
import pathlib

import bitsandbytes.functional as bnb
import gguf
import numpy as np
import torch

random = np.random.default_rng(1)


def hexed(array):
    if isinstance(array, torch.Tensor):
        array = array.contiguous().numpy()
    return np.ascontiguousarray(array).tobytes().hex()


# Byte offsets of the half-precision scales in a block.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [0], "BF16": []}


def blocks(name):
    """Random bits; scales of every size from subnormal up, of both signs."""
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = 2, max(96, 2 * elements)
    data = random.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at in HALVES[name]:
        scale = random.standard_normal(len(data)) * 10.0 ** random.uniform(-7, 3, len(data))
        data[:, at:at + 2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    if name == "BF16":
        data[:, 1] &= 0x3F
    data = data.reshape(rows, -1)
    return {"rows": rows, "columns": columns, "data": hexed(data),
            "values": hexed(gguf.dequantize(data, kind).astype(np.float32))}


def hashed(rows, columns):
    """A large matrix that the test makes too: Knuth's multiplicative hash of the index, scaled per 64."""
    i = np.arange(rows * columns, dtype=np.uint64)
    bits = (i * 2654435761 % 2**32).astype(np.uint32).view(np.int32)
    scale = (1 + i // 64 % 37).astype(np.float32) / 8
    return (bits.astype(np.float32) * np.float32(2**-31) * scale).reshape(rows, columns)


def matrices():
    table = bnb.get_4bit_type("nf4", device="cpu").numpy()
    midpoints = (table[:-1] + table[1:]) / 2
    beside = np.concatenate([midpoints, np.nextafter(midpoints, 2), np.nextafter(midpoints, -2), [1.0]])
    ties = np.zeros((2, 64), np.float32)
    ties[0, :len(beside)] = beside
    ties[1] = ties[0] * -4
    normal = random.standard_normal((6, 128)).astype(np.float32)
    return {
        "normal": normal * np.float32(0.02),
        "partial last block": random.standard_normal((5, 50)).astype(np.float32),
        "odd columns": random.standard_normal((7, 33)).astype(np.float32),
        "ties": ties,
        "one zero block": normal * (np.arange(6) != 3)[:, None].astype(np.float32),
        "huge": normal * np.float32(5e36),
        "zeros": np.zeros((2, 64), np.float32),
        "constant": np.full((2, 64), 0.25, np.float32),
        "tiny": normal * np.float32(1e-36),
        "subnormal": normal * np.float32(1e-40),
    }


def nearest(values, absmax):
    """The nearest of the dynamic map's values, a tie to the lower: what bitsandbytes' CUDA kernel and its torch
    implementation do. Its CPU library reads a table of 16-bit resolution and is off by one code near a tie."""
    bounds = (MAP[:-1] + MAP[1:]) / 2
    scaled = values * (1 / absmax.repeat_interleave(256)[:len(values)])
    return torch.bucketize(scaled.nan_to_num(nan=-1), bounds, out_int32=True).to(torch.uint8)


MAP = bnb.create_dynamic_map()


def nf4(matrix):
    weight = torch.from_numpy(matrix)
    codes, plain = bnb.quantize_4bit(weight, quant_type="nf4", blocksize=64)
    _, state = bnb.quantize_4bit(weight, quant_type="nf4", blocksize=64, compress_statistics=True)
    codes8 = nearest(plain.absmax - state.offset, state.state2.absmax)
    assert (codes8 != state.absmax).float().mean() < 0.01
    return {"codes": hexed(codes), "absmax": hexed(plain.absmax), "offset": hexed(state.offset.reshape(1)),
            "nearest_codes": hexed(codes8), "absmax_codes": hexed(state.absmax),
            "nested_absmax": hexed(state.state2.absmax),
            "values": hexed(bnb.dequantize_4bit(codes, state)) if weight.numel() < 2000 else ""}


def int8(matrix):
    codes, scales, _ = bnb.int8_vectorwise_quant(torch.from_numpy(matrix))
    return {"codes": hexed(codes), "scales": hexed(scales),
            "values": hexed(bnb.int8_vectorwise_dequant(codes, scales))}


out = {"blocks": {name.lower(): blocks(name) for name in HALVES}, "matrices": {},
       "maps": {"signed": hexed(bnb.create_dynamic_map()), "unsigned": hexed(bnb.create_dynamic_map(signed=False))},
       "nf4": hexed(bnb.get_4bit_type("nf4", device="cpu"))}
for name, matrix in matrices().items():
    out["matrices"][name] = {"rows": matrix.shape[0], "columns": matrix.shape[1], "values": hexed(matrix),
                             "nf4": nf4(matrix), "int8": int8(matrix)}
# More than 256 scales.
large = hashed(200, 192)
out["hashed"] = {"rows": 200, "columns": 192, "nf4": nf4(large)}
path = pathlib.Path(__file__).with_name("quantization.json")
path.write_text(json.dumps(out, indent=1) + "\n")
