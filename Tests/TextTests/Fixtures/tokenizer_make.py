"""Writes the tokenizer fixtures in this folder: small tokenizers, texts, and what they become.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    python tokenizer_make.py

Each family is one trained vocabulary; a variant replaces some parts of its tokenizer.json. Expected ids and
texts are those of Hugging Face `tokenizers`, or of `sentencepiece` for the score-driven vocabulary.
"""
import io, itertools, json, os, random, re, sys
import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = [open(os.path.abspath(__file__)).read()] * 2 + [
    "The quick brown fox doesn't jump over the lazy dogs; they've said it's what we'll do. " * 20,
    "日本語のテキストと中文混排，还有한국어。 naïve café — “quotes” … Ünïcödé الحروف العربية " * 10,
    "def f(x):\n    return x**2  # square\n\n\tif 123 >= 45:\r\n        print('HelloWorld', 3.14159)\n" * 20,
]
TEXTS = [
    "Hello, world!", "  leading and   inner  spaces\n\n\ttabs  ", "def f(x):\n    return x**2  # square\n",
    "naïve café — “quotes” … €100", "日本語のテキストと中文混排，还有한국어。", "🦥🚀👩‍👩‍👧‍👦 emoji ZWJ",
    "12345678901234567890 3.14159 1e-10 ١٢٣ ½ Ⅷ ²", "a" * 60, "", " ", "\n", "\r\nWindows\r\nlines\r\n", " \n ", "\t\tx",
    "x \n\n  y", "<|im_start|>user\nhi<|im_end|>\n", "a <mask>  b<mask>c <pad> \n d", "wor word wor. swor wor", "x<sep>  y <sep>z",
    "Ünïcödé ñandú", "U\u0308n\u0304i e\u0301\u0323 \u0301x", "I'll we've they'd it's CAN'T I'M 'S 'ſ x'\u017f 're'", "don't'll''s",
    "x\u00a0y\u2003z\u200bw\u3000v\u0085u\u2028t", " \u00a0a \u3000 b", "HelloWorld HELLOWorld helloWORLD ǅungla ʰaʰA ªº ABʰCD XY語ZW \u0301AB",
    "!!! ?!\n\n//\n/x --\r\n(a)[b]{c}", "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';", "ﬁ ﬃ Ⅳ ㎏ ｶﾞ ㄱㅏ 각 \u1100\u1161\u11a8 Å",
    "İstanbul ẞ ΑΣ", "नमस्ते दुनिया ไทย", "▁under ▁▁ score▁", "a == b==  ==", "m\u00b2|' ½!a\u200db", "<0x41><0xE4> <s> </s> <unk>", "\x00\x01\x7f \ufeff\ufffd\U0010ffff",
]
ALPHABET = (list("aAbeEst'ldvmrRLXyz019 \n\r\t/!.-_<>|▁") * 3 + list("é\u0301\u0323ñßſİΣσЖжǅʰª中語가ㄱकि्ไ٣½Ⅷ²\u00a0\u2003\u3000\u0085\u200b\u200d€“…🦥👩")
            + ["<mask>", "<|im_end|>", "  ", "'ll", "'S", "wor", "<sep>"])


def fuzz(count, longest, seed):
    rng = random.Random(seed)
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, longest))) for _ in range(count)]


def split(regex, behavior="isolated", invert=False):
    from tokenizers import Regex
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


CONTRACTION, REST = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"|\s*[\r\n]+|\s+(?!\S)|\s+"
PREFIX, UPPER, LOWER = r"[^\r\n\p{L}\p{N}]?", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": CONTRACTION + "|" + PREFIX + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST,
    "qwen2": CONTRACTION + "|" + PREFIX + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + REST,
    "qwen35": CONTRACTION + "|" + PREFIX + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + REST,
    "o200k": PREFIX + UPPER + "*" + LOWER + "+" + CONTRACTION + "?|" + PREFIX + UPPER + "+" + LOWER + "*" + CONTRACTION
    + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + REST,
    "tekken": PREFIX + UPPER + "*" + LOWER + "+|" + PREFIX + UPPER + "+" + LOWER + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + REST,
    "other": r"\w+|[^\w\s]{1,2}|\s",
}
CASED = (r"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ"
         + "\u1f5f-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌ\u1fd0-\u1fd3\u1fd6-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-\u212dℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭ"
         + "Ꚁ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")
# Names of pre-tokenizers in GGUF files, with patterns to split by one after the other.
GGUF = {"default": [r"[\p{P}\$\+<=>\^~\|]+", PATTERNS["gpt2"], r"\p{N}+", "[0-9][0-9][0-9]"], "gpt-2": [PATTERNS["gpt2"]],
        "smollm": [r"\p{N}", PATTERNS["gpt2"]], "qwen2": [PATTERNS["qwen2"]], "glm4": [PATTERNS["llama3"]], "qwen35": [PATTERNS["qwen35"]],
        "gpt-4o": [PATTERNS["o200k"]], "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", PATTERNS["gpt2"], "[0-9][0-9][0-9]"],
        "deepseek-llm": [r"[\r\n]", r"\s?[" + CASED + "]+", r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+$", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}+"],
        "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"],
        "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
                        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*""" + REST],
        "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"], "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
        "seed-coder": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + REST],
        "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"]}
ADDED = [AddedToken("<|endoftext|>", special=True), AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True),
         AddedToken("<mask>", lstrip=True, special=True), AddedToken("<pad>", lstrip=True, rstrip=True, special=True),
         AddedToken("wor", single_word=True, normalized=False), AddedToken("<sep>", rstrip=True, normalized=True), AddedToken(" ==", normalized=True)]


def part(value):
    """A component as tokenizer.json holds it."""
    tokenizer = Tokenizer(models.BPE())
    for key, kind in (("normalizer", normalizers.Normalizer), ("pre_tokenizer", pre_tokenizers.PreTokenizer),
                      ("decoder", decoders.Decoder), ("post_processor", processors.PostProcessor)):
        if isinstance(value, kind):
            setattr(tokenizer, key, value)
            return {key: json.loads(tokenizer.to_str())[key]}
    return value


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=560, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(ADDED)
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sequence = pre_tokenizers.Sequence
    template = processors.TemplateProcessing(single="<|im_start|> $A <|im_end|>", special_tokens=[
        ("<|im_start|>", tokenizer.token_to_id("<|im_start|>")), ("<|im_end|>", tokenizer.token_to_id("<|im_end|>"))])
    variants = {"gpt2": [processors.ByteLevel()],
                "roberta": [pre_tokenizers.ByteLevel(add_prefix_space=True), processors.RobertaProcessing(("<|im_end|>", 562), ("<|im_start|>", 561))],
                "llama3": [sequence([split(PATTERNS["llama3"]), plain]), processors.Sequence([processors.ByteLevel(), template]), {"model": {"ignore_merges": True}}],
                "qwen2": [normalizers.NFC(), sequence([split(PATTERNS["qwen2"]), plain])],
                "inverted": [sequence([split(PATTERNS["llama3"], "removed", True), plain])]}
    for name in ("qwen35", "o200k", "tekken", "other"): variants[name] = [sequence([split(PATTERNS[name]), plain])]
    variants |= {
        "smollm": [sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])],
        "falcon": [sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                             pre_tokenizers.Digits(), split("[0-9][0-9][0-9]")])],
        "words": [normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]), sequence([pre_tokenizers.Whitespace(), plain])],
        "bert": [normalizers.NFKC(), sequence([pre_tokenizers.BertPreTokenizer(), plain])],
        "trimmed": [normalizers.Sequence([normalizers.NFKD(), normalizers.Strip()]), sequence([pre_tokenizers.WhitespaceSplit(), plain])],
        "previous": [sequence([pre_tokenizers.Split(" ", "merged_with_previous"), plain])],
        "next": [sequence([pre_tokenizers.Split("l", "merged_with_next"), pre_tokenizers.Punctuation("merged_with_previous"), plain])],
    }
    for name, patterns in GGUF.items(): variants["gguf " + name] = [sequence([split(p) for p in patterns] + [plain])]
    return tokenizer, variants


def sentence_piece():
    model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=650, special_tokens=["<unk>", "<s>", "</s>"] + byte_tokens, limit_alphabet=110, show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens(ADDED[2:])
    metaspace = pre_tokenizers.Metaspace
    fallback = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    stripping = decoders.Sequence(fallback + [decoders.Strip(" ", 1, 0)])
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    none = {"pre_tokenizer": None}
    return tokenizer, {
        "llama2": [legacy, none, stripping, template],
        "llama2-unknown": [legacy, none, stripping, {"model": {"byte_fallback": False}}],
        "llama2-unfused": [legacy, none, stripping, {"model": {"byte_fallback": False, "fuse_unk": False}}],
        "llama2-silent": [legacy, none, stripping, {"model": {"byte_fallback": False, "unk_token": None}}],
        "mistral": [metaspace(prepend_scheme="first", split=False), stripping],
        "always": [metaspace(prepend_scheme="always", split=True), decoders.Metaspace(prepend_scheme="always")],
        "never": [metaspace(prepend_scheme="never"), decoders.Metaspace(prepend_scheme="never")],
        "gemma": [normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), decoders.Sequence(fallback), template],
        "undecoded": [legacy, none, {"decoder": None}],
    }


def apply(tokenizer, parts):
    """The parts of tokenizer.json that a variant replaces, and the tokenizer it makes."""
    state = json.loads(tokenizer.to_str())
    changes = {}
    for value in parts:
        for key, change in part(value).items():
            changes[key] = change
            state[key] = state[key] | change if key == "model" else change
    return changes, Tokenizer.from_str(json.dumps(state))


def is_mixed(tokens):
    """Whether a run of byte tokens holds both characters and other bytes: Hugging Face drops those characters,
    sentencepiece (and Swiftlet) keep them."""
    for is_byte, run in itertools.groupby(tokens, lambda token: re.fullmatch("<0x..>", token) is not None):
        if is_byte:
            data = bytes(int(token[3:5], 16) for token in run)
            if data.decode(errors="ignore") not in ("", data.decode(errors="replace")): return True
    return False


def variant(tokenizer, texts, rng, id_lists):
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    framed = tokenizer.encode(texts[0]).ids
    decoded = [tokenizer.decode(i, skip_special_tokens=False) for i in ids]
    lists = []
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    while len(lists) < id_lists:
        ids_at_random = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 8))]
        tokens = [tokenizer.id_to_token(i) for i in ids_at_random]
        if not is_mixed(tokens) and not is_mixed([token for token in tokens if token not in special]): lists.append(ids_at_random)
    return {"ids": ids, "framed": framed, "decoded": {str(i): d for i, (d, t) in enumerate(zip(decoded, texts)) if d != t},
            "lists": [{"ids": i, "text": tokenizer.decode(i, skip_special_tokens=False), "plain": tokenizer.decode(i)} for i in lists]}


def family(made, texts, id_lists):
    tokenizer, variants = made
    state = json.loads(tokenizer.to_str())
    result = {"tokenizer": state, "texts": texts, "variants": {}}
    rng = random.Random(7)
    for name, parts in variants.items():
        changes, changed = apply(tokenizer, parts)
        result["variants"][name] = {"changes": changes} | variant(changed, texts, rng, id_lists)
    return result


def scored(texts, id_lists):
    """A vocabulary with scores, as GGUF files of model `llama` hold it; expected values by sentencepiece."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(CORPUS).split("\n")), model_writer=out, model_type="bpe", vocab_size=700, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<sep>"], control_symbols=["<|im_end|>"],
        character_coverage=0.995, minloglevel=2, num_threads=1, split_digits=True, allow_whitespace_only_pieces=True)
    sp = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if sp.id_to_piece(i) == "<sep>" else 1
    # sentencepiece does not look for control tokens in a text, and drops NUL.
    texts = [t for t in texts if not any(s in t for s in ("<s>", "</s>", "<unk>", "<|im_end|>", "<sep>", "\0"))]
    ids = [sp.encode(t) for t in texts]
    rng = random.Random(8)
    lists = [[rng.choice([rng.randrange(4, len(sp)), sp.piece_to_id(f"<0x{rng.randrange(128, 256):02X}>")]) for _ in range(8)] for _ in range(id_lists)]
    return {"tokens": [sp.id_to_piece(i) for i in range(len(sp))], "scores": [sp.get_score(i) for i in range(len(sp))],
            "types": [kind(i) for i in range(len(sp))], "texts": texts, "ids": ids, "decoded": [sp.decode(i) for i in ids],
            "lists": [{"ids": i, "text": sp.decode(i)} for i in lists]}


def write(folder, count, longest, seed, id_lists):
    texts = TEXTS + fuzz(count, longest, seed)
    for name, value in (("byte_level", family(byte_level(), texts, id_lists)), ("sentencepiece", family(sentence_piece(), texts, id_lists)),
                        ("scored", scored(texts, id_lists))):
        with open(os.path.join(folder, f"tokenizer_{name}.json"), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    # python tokenizer_make.py FOLDER COUNT LONGEST SEED LISTS: as many more texts, for a longer comparison.
    arguments = sys.argv[1:]
    write(arguments[0] if arguments else HERE, *map(int, arguments[1:] or (24, 24, 1, 6)))
