"""Writes texts with the numbers of their wordpieces, as the package tokenizers splits them.

Usage: python tests/golden/wordpieces/make_texts.py VOCAB.txt COUNT [PROMPTS.jsonl.gz] > texts.jsonl
VOCAB.txt is the vocabulary of BERT (uncased). tests/golden/wordpieces/texts.jsonl is what it writes
for 200 texts; to compare more, run the tests Wordpieces.* with R2ROUTER_WORDPIECES=FILE. With
PROMPTS, most texts are its "query".
"""

# ruff: noqa: RUF001

import gzip
import json
import random
import sys

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

TEXTS = [
    "Hello",
    "2+2?",
    "Write a Python function that merges two sorted lists.",
    "Übersetze ins Französische: Guten Morgen, wie geht’s?",
    "E-mail o'clock don't can't (a) [b] {c} <d> $5.00 50% #tag @user a_b a/b \\frac{1}{2} x^2",
    "ÀÉÎÕÜ ǅ İstanbul ŁÓDŹ ẞ ﬁ Ω Σίσυφος ὈΔΥΣΣΕΎΣ Ёлка Їжак Ҳ",
    "东京 tokyo 東京タワー がぎぐ ｶﾀｶﾅ 한국어 조선글 ㄱㄴ",
    "مَرْحَبًا العالم שָׁלוֹם עולם हिन्दी क़लम বাংলা ো தமிழ் கொ ไทย",
    "a\u0301e\u0308 soft\u00adhyphen zero\u200bwidth\u200djoiner \ufeffbom "
    "tab\tnew\nline\r\nnbsp\u00a0em\u2003end",
    "🙂 🇩🇪 👩‍👩‍👧 ∑ ≤ ± × ÷ ½ ² ℃ № ™ … — “quotes” «guillemets» ‚low’ ¿qué? ¡sí! · § ¶",
    "\x00\x01\x7f\x85 \u0378 \ue000 \U000e0001 \U0010ffff \ufffd",
    "x" * 100 + " " + "x" * 101 + " " + "é" * 100 + " " + "가" * 33 + " " + "가" * 34,
    "unaffable supercalifragilisticexpialidocious antidisestablishmentarianism qwrtzpsdfgh",
    "##ing ing## # # [UNK] [CLS] [unused5]",
    "3.14159 1,000,000 0x1F 1e-9 v2.0.1 192.168.0.1 2026-11-28T14:00Z",
    "def f(x): return x**2 if x>0 else -x  # comment",
    " ",
]
# Blocks that random texts are made of.
BLOCKS = [
    (0x20, 0x7E),
    (0x61, 0x7A),
    (0xA0, 0x24F),
    (0x250, 0x36F),
    (0x370, 0x52F),
    (0x590, 0x6FF),
    (0x900, 0xDFF),
    (0xE00, 0xFFF),
    (0x1000, 0x11FF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x2BFF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xF900, 0xFFFD),
    (0x10000, 0x1FFFF),
    (0x20000, 0x2FFFF),
]


def random_text(generator: random.Random) -> str:
    first, last = generator.choice(BLOCKS)
    text = ""
    for _ in range(generator.randrange(1, 60)):
        if generator.random() < 0.15:
            text += " "
        elif generator.random() < 0.1:
            text += chr(generator.randrange(*generator.choice(BLOCKS)))
        else:
            text += chr(generator.randint(first, last))
    return text


def main() -> None:
    count = int(sys.argv[2])
    with open(sys.argv[1], encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(file)}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    generator = random.Random(7)
    texts = list(TEXTS)
    if len(sys.argv) > 3:
        with gzip.open(sys.argv[3], "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["query"] for line in file][: count * 4 // 5]
    while len(texts) < count:
        texts.append(random_text(generator))
    for text in texts:
        print(json.dumps({"text": text, "pieces": tokenizer.encode(text).ids}))


if __name__ == "__main__":
    main()
