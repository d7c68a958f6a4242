"""A Qwen3 of 36,000 random weights, in the formats that encoders read.

Large weights and norms that are not 1 make attention matter: an encoder that loses a position, a
norm or the mask is far from the others. Called as a program it writes the files of
tests/golden/embedding_model: the model for llama.cpp, and embeddings by transformers in float32.

    python tests/support/embedding_model.py tests/golden/embedding_model
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

END = "<|endoftext|>"

#: One token, words, digits, several scripts and lines, special tokens in the text, and more tokens
#: than llama.cpp computes at once. All are NFC, since llama.cpp does not normalise.
TEXTS = [
    "a",
    "Who wrote Faust?",
    "Solve the equation: 2x + 5 = 13, and then add 1234567.",
    "Grüße aus Köln — 你好 世界 🙂",
    "def f(x):\n    return x + 1\n\n\n",
    f"before {END} after",
    " ",
    " ".join(f"Sentence {i} is about the number {i * i}." for i in range(60)),
]

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(append_end: bool) -> Any:
    """A byte-level BPE; ``append_end`` as Qwen3-Embedding does and Qwen3 does not."""
    import tokenizers as t

    tokenizer = t.Tokenizer(t.models.BPE())
    tokenizer.normalizer = t.normalizers.NFC()
    tokenizer.pre_tokenizer = t.pre_tokenizers.Sequence(
        [
            t.pre_tokenizers.Split(t.Regex(_SPLIT), "isolated"),
            t.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = t.decoders.ByteLevel()
    trainer = t.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[END, "<|im_start|>", "<|im_end|>"],
        initial_alphabet=t.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if append_end:
        tokenizer.post_processor = t.processors.TemplateProcessing(
            single=f"$A {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
        )
    return tokenizer


def make_model() -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=0,
    )
    model = Qwen3Model(config)
    random = np.random.RandomState(11)
    with torch.no_grad():
        for name, values in sorted(model.named_parameters()):
            numbers = random.standard_normal(values.shape).astype(np.float32)
            scaled = 1 + 0.3 * numbers if "norm" in name else 0.3 * numbers
            values.copy_(torch.from_numpy(scaled))
    return model.eval()


def write_folder(folder: Path, append_end: bool = True) -> Any:
    """Writes the model as the Hub has it, and returns it."""
    from transformers import PreTrainedTokenizerFast

    model = make_model()
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(append_end), eos_token="<|im_end|>", pad_token=END
    )
    tokenizer.save_pretrained(folder)
    # What sentence-transformers needs to know, as in the repositories of Qwen3-Embedding.
    modules = ["Transformer", "Pooling", "Normalize"]
    entries = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{name}" if i else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for i, name in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {
        "word_embedding_dimension": model.config.hidden_size,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True,
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return model


def write_gguf(file: Path, model: Any, append_end: bool = True, **settings: Any) -> None:
    """Writes it for llama.cpp; ``settings``: further fields of the architecture."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(str(file), "qwen3")
    writer.add_name("r2router test model")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for name, value in settings.items():
        writer.add_key_value(
            f"qwen3.{name}",
            value,
            gguf.GGUFValueType.BOOL if isinstance(value, bool) else gguf.GGUFValueType.UINT32,
        )

    described = json.loads(make_tokenizer(append_end).to_str())
    tokens = sorted(described["model"]["vocab"], key=described["model"]["vocab"].__getitem__)
    special = {each["content"] for each in described["added_tokens"]}
    kinds = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_eos_token_id(tokens.index(END))
    writer.add_add_eos_token(append_end)

    parts = {
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, values in model.state_dict().items():
        part = name.removesuffix(".weight")
        if part.startswith("layers."):
            _, layer, part = part.split(".", 2)
            part = f"blk.{layer}.{parts[part]}"
        else:
            part = parts[part]
        writer.add_tensor(f"{part}.weight", values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_onnx(file: Path, model: Any) -> None:
    import torch

    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")

    class LastLayer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state

    ids = torch.ones(2, 7, dtype=torch.long)
    sizes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=2048)}
    torch.onnx.export(
        LastLayer().eval(),
        (ids, torch.ones_like(ids)),  # the exporter takes one tensor for one input
        str(file),
        input_names=["input_ids", "attention_mask"],
        output_names=["last_hidden_state"],
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
        dynamo=True,
    )


def reference(folder: Path, model: Any, texts: list[str]) -> np.ndarray:
    """The embeddings, a text at a time without padding."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            last = model(input_ids=ids).last_hidden_state[0, -1].double()
        rows.append((last / last.norm()).numpy())
    return np.array(rows)


def main(output: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    model = write_folder(folder)
    output.mkdir(parents=True, exist_ok=True)
    write_gguf(output / "model.gguf", model)
    rows = reference(folder, model, TEXTS)
    entries = [
        {"text": text, "embedding": [round(x, 7) for x in row.tolist()]}
        for text, row in zip(TEXTS, rows, strict=True)
    ]
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    (output / "expected.json").write_text(f"[{lines}]\n", encoding="utf-8")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
