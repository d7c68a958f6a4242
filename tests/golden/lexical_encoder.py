"""The lexical encoder of checkpoints/FORMAT.md, rendered as plainly as Python allows.

Written from that chapter alone, to check the C++ against. Run it to write lexical/vectors.json anew:

    python3 tests/golden/lexical_encoder.py
"""

import json
import math
import pathlib
import struct

MASK = 2**64 - 1
BASIS = 0xCBF29CE484222325

WHITE_SPACE = {
    *range(0x0009, 0x000E), *range(0x001C, 0x0021), 0x0085, 0x00A0, 0x1680, *range(0x2000, 0x200B),
    0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
}  # fmt: skip

LOWER_CASE = [  # from, to, step, distance
    (0x0041, 0x005A, 1, 32), (0x00C0, 0x00D6, 1, 32), (0x00D8, 0x00DE, 1, 32),
    (0x0100, 0x012E, 2, 1), (0x0130, 0x0130, 1, -199), (0x0132, 0x0136, 2, 1),
    (0x0139, 0x0147, 2, 1), (0x014A, 0x0176, 2, 1), (0x0178, 0x0178, 1, -121),
    (0x0179, 0x017D, 2, 1), (0x01A0, 0x01A0, 1, 1), (0x01AF, 0x01AF, 1, 1),
    (0x0386, 0x0386, 1, 38), (0x0388, 0x038A, 1, 37), (0x038C, 0x038C, 1, 64),
    (0x038E, 0x038F, 1, 63), (0x0391, 0x03A1, 1, 32), (0x03A3, 0x03AB, 1, 32),
    (0x0400, 0x040F, 1, 80), (0x0410, 0x042F, 1, 32), (0x0460, 0x0480, 2, 1),
    (0x048A, 0x04BE, 2, 1), (0x04C0, 0x04C0, 1, 15), (0x04C1, 0x04CD, 2, 1),
    (0x04D0, 0x052E, 2, 1), (0x1E00, 0x1E94, 2, 1), (0x1EA0, 0x1EFE, 2, 1),
]  # fmt: skip
LOWER = {c: c + d for first, last, step, d in LOWER_CASE for c in range(first, last + 1, step)}

WHOLE_WORDS = [
    (0x0080, 0x00BF), (0x00D7, 0x00D7), (0x00F7, 0x00F7), (0x0E00, 0x0EFF), (0x1000, 0x109F),
    (0x1780, 0x17FF), (0x2010, 0x205E), (0x20A0, 0x20CF), (0x2190, 0x2BFF), (0x2E00, 0xA4CF),
    (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFE10, 0xFE1F), (0xFE30, 0xFE6F), (0xFF00, 0xFFFF),
    (0x1D000, 0x1DFFF), (0x1F000, 0x1FBFF), (0x20000, 0x3FFFF),
]  # fmt: skip


def code_points(text: bytes) -> list[int]:
    """Asks Python's own strict decoder what is well-formed at each place."""
    points, position = [], 0
    while position < len(text):
        for length in (1, 2, 3, 4):
            try:
                decoded = text[position : position + length].decode("utf-8")
            except UnicodeDecodeError:
                continue
            points.append(ord(decoded))
            position += length
            break
        else:
            points.append(0xFFFD)
            position += 1
    return points


def normalise(points: list[int]) -> list[int]:
    words, word = [], []
    for c in [*points, 0x20]:
        if c not in WHITE_SPACE:
            word.append(LOWER.get(c, c))
        elif word:
            words.append(word)
            word = []
    if not words:
        raise ValueError("a text of white space has no embedding")
    return [0x20] + [c for word in words for c in [*word, 0x20]]


def is_whole_word(c: int) -> bool:
    if c < 0x80:
        return chr(c) not in "abcdefghijklmnopqrstuvwxyz0123456789 "
    return any(first <= c <= last for first, last in WHOLE_WORDS)


def words_of(normalised: list[int]) -> list[list[int]]:
    words, word = [], []
    for c in normalised:
        if c != 0x20 and not is_whole_word(c):
            word.append(c)
            continue
        if word:
            words.append(word)
            word = []
        if c != 0x20:
            words.append([c])
    return words


def extend(state: int, values: list[int]) -> int:
    for value in values:
        state = (state ^ value) * 0x00000100000001B3 & MASK
    return state


def hash_of(start: int, values: list[int]) -> int:
    state = extend(start, values)
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD & MASK
    state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return state ^ state >> 33


def to_float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def sum_by_four(terms: list[float]) -> float:
    q = [0.0] * 4
    for i, term in enumerate(terms):
        q[i % 4] += term
    return (q[0] + q[1]) + (q[2] + q[3])


def encode(text: bytes, spec: dict, idf: list[float] | None = None) -> list[float]:
    dimension = spec["dimension"]
    normalised = normalise(code_points(text))
    if spec.get("fold_digits"):
        normalised = [0x30 if 0x30 <= c <= 0x39 else c for c in normalised]
    x = [0.0] * dimension
    for family in spec["features"]:
        if family["kind"] == "words":
            units = [hash_of(BASIS, word) for word in words_of(normalised)]
        else:
            units = normalised
        start = extend(BASIS, [spec["seed"], ["words", "characters"].index(family["kind"])])
        counts = [0] * dimension
        for n in range(family["min_n"], family["max_n"] + 1):
            for i in range(len(units) - n + 1):
                h = hash_of(start, units[i : i + n])
                counts[(h >> 32) * dimension >> 32] += -1 if h % 2 else 1
        x = [x[i] + family["weight"] * counts[i] for i in range(dimension)]
    if spec.get("square_root"):
        x = [math.copysign(math.sqrt(abs(value)), value) for value in x]
    if idf:
        x = [x[i] * idf[i] for i in range(dimension)]
    norm = math.sqrt(sum_by_four([value * value for value in x]))
    scale = 1 / norm if norm > 0 else 0.0
    features = [to_float32(value * scale) for value in x]
    squares = []
    for weights, intercept in spec.get("topics", []):
        score = sum_by_four([w * value for w, value in zip(weights, features)]) + intercept
        squares.append(max(score, 0.0) ** 2)
    total = 0.0
    for square in squares:
        total += square
    return features + [to_float32(s / total) if total > 0 else 0.0 for s in squares]


# ---- The golden file ----


def family(kind: str, min_n: int, max_n: int, weight: float = 1.0) -> dict:
    return {"kind": kind, "min_n": min_n, "max_n": max_n, "weight": weight}


SPECS = {  # weights and IDF are float32 numbers
    "words": {"dimension": 32, "seed": 0, "features": [family("words", 1, 1)]},
    "both": {
        "dimension": 37,
        "seed": 2**64 - 1,
        "features": [family("words", 1, 2), family("characters", 3, 5, 0.300000011920928955078125)],
    },
    "longest": {
        "dimension": 16,
        "seed": 7,
        "features": [family("characters", 8, 8, 2.5), family("words", 2, 8)],
        "idf": [i * 0.125 for i in range(16)],
    },
    "folded": {
        "dimension": 64,
        "seed": 1,
        "features": [family("characters", 3, 3), family("words", 1, 1)],
        "fold_digits": True,
        "square_root": True,
        "idf": [1 + i * 0.25 for i in range(64)],
    },
    "topics": {
        "dimension": 24,
        "seed": 3,
        "features": [family("characters", 2, 3)],
        "square_root": True,
        "topics": [  # weights and intercept of each, float32 numbers
            ([to_float32(math.sin(i + 0.7 * k)) for i in range(24)], to_float32(0.3 - 0.2 * k))
            for k in range(5)
        ],
    },
}

TEXTS = [  # (bytes, times repeated)
    ("Solve the equation: 2x + 5 = 13".encode(), 1),
    ("  SOLVE\tthe\n\nEquation:\u00a02X + 5 = 13\u3000".encode(), 1),
    (b"a", 1),
    (b"!", 1),
    ("Don't use f(x)=x^2 or \\frac{1}{2}, pi_0 [ok]?".encode(), 1),
    ("Ünïcödé ÀÉÎÕÞ ß × ÷ ª° Ÿ Ź İstanbul ıĸ Ơ Ư Ế".encode(), 1),
    ("ΆΈΉΊΌΎΏ ΑΣ ας Ϊ Ѐ Ж я Ѡ Ҋ Ӏ Ӂ Ԯ".encode(), 1),
    ("e\u0301 and é: combining; zero\u200dwidth\u200b".encode(), 1),
    ("日本語の質問です。カタカナ、ﾊﾝｶｸ！ 한국어 질문 中文问题：２＋２＝？".encode(), 1),
    ("ما هي عاصمة فرنسا؟ भारत की राजधानी क्या है? ภาษาไทย မြန်မာ ខ្មែរ".encode(), 1),
    ("emoji 👍🏽 👩‍👩‍👧 🇫🇷 ∑∫√ → € ‘quoted’ … 𝒙 𠀀 \U000e0001".encode(), 1),
    (b"nul\x00inside\x01\x7f\x1b[0m", 1),
    (b"\xff\xfe bad \xc0\xaf \xe0\x80\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe4\xb8 \xf0\x9f\x98", 1),
    (b"cut in the middle \xe4\xbd", 1),
    (b"A long text that runs over many blocks; 1234567890 ", 97),
    ("длинное слово без пробелов日本".encode(), 61),
    (b"x", 3000),
    (b"word" + b" " * 700, 5),
]


def lines(items: list) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(item) for item in items) + "\n ]"


def main() -> None:
    cases = []
    for name, spec in SPECS.items():
        for text, times in TEXTS:
            embedding = encode(text * times, spec, spec.get("idf"))
            bits = " ".join(struct.pack(">f", value).hex() for value in embedding)
            cases.append({"spec": name, "text_hex": text.hex(), "times": times, "float32": bits})
    hashes = [
        {"values": list(values), "hash": hash_of(BASIS, list(values))}
        for values in (b"", b"a", b"foobar", [0x65E5], [2**64 - 1, 0])
    ]
    words = []
    for text in ("2x + y's", "Hello, 世界! ℃ 3.14€", "naïve co\u0301operation_test"):
        found = words_of(normalise(code_points(text.encode())))
        words.append({"text": text, "words": ["".join(map(chr, word)) for word in found]})
    path = pathlib.Path(__file__).with_name("lexical") / "vectors.json"
    path.write_text(
        '{\n "specs": ' + json.dumps(SPECS) + ',\n "hashes": ' + lines(hashes)
        + ',\n "words": ' + lines(words) + ',\n "embeddings": ' + lines(cases) + "\n}\n"
    )


if __name__ == "__main__":
    main()
