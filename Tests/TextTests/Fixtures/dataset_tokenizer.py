"""Writes dataset_tokenizer.json: a byte-level BPE of a few merges with ChatML's tokens. Needs `tokenizers`."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "Hello, how are you? I am fine, thank you.",
    "What is the capital of France? The capital of France is Paris.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "user assistant system think think the answer is four",
    "The weather in Paris is sunny and warm today.",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"]

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=340, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
tokenizer.train_from_iterator(TEXTS * 3, trainer)
tokenizer.save(str(Path(__file__).with_name("dataset_tokenizer.json")), pretty=False)
