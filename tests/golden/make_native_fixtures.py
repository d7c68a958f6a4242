"""Writes native_v1/, native_v2_*/ and npy/ with the tools that others would use: safetensors and NumPy for Python.

Run in this folder; needs numpy and safetensors. The files are kept in the repository: the folders must stay
readable for as long as their version of the format is, so they are never written anew.
"""

import json
import pathlib

import numpy
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
DIMENSION = 8
HEADS = [
    ["small", 20, "quality"],
    ["small", "unlimited", "quality"],
    ["small", "unlimited", "tokens"],
    ["large / ünï", "unlimited", "quality"],
    ["large / ünï", 20, "quality"],
    ["large / ünï", 20, "tokens"],
    ["large / ünï", "unlimited", "tokens"],
]
CONFIG = {
    "format_version": 1,
    "router_name": "fixture",
    "method": "made by hand",
    "embedding_model": "lexical",
    "embedding_dim": DIMENSION,
    "default_lambda": 0.25,
    "encoder": {
        "type": "lexical",
        "dimension": DIMENSION,
        "seed": 18446744073709551615,
        "features": [
            {"kind": "words", "min_n": 1, "max_n": 2, "weight": 1},
            {"kind": "characters", "min_n": 3, "max_n": 5, "weight": 0.5},
        ],
        "idf": True,
    },
    "budget_mode": "hard-cap",
    "rules": "corrected",
    "token_floor": 1.5,
    "token_limits": [20, "unlimited"],
    "models": {
        "small": {
            "openrouter_id": "vendor/small",
            "input_price_per_million": 0.1,
            "output_price_per_million": 0.25,
        },
        "large / ünï": {
            "openrouter_id": None,
            "input_price_per_million": 3,
            "output_price_per_million": 15,
            "available": False,
            "note": "not offered",
        },
    },
    "training": {"z": 1.50, "a": [1e5, {"y": None}]},
}


def write_version_2():
    """The kinds of predictors that version 1 does not have."""
    idf = (1 + numpy.arange(DIMENSION) / 16).astype("float32")

    def ramp(*shape):
        count = numpy.prod(shape)
        return ((numpy.arange(count) * 7 % 23) / 16 - 0.5).reshape(shape).astype("float32")

    predictors = {
        "knn": (
            {"embeddings": ramp(5, DIMENSION), "targets": ramp(5, len(HEADS))},
            {"neighbours": "3", "weighting": "similarity"},
        ),
        "mlp": (
            {
                "scales": numpy.arange(1, len(HEADS) + 1) * 1.5,
                "layers.0.weight": ramp(4, DIMENSION),
                "layers.0.bias": ramp(4),
                "layers.1.weight": ramp(len(HEADS), 4),
                "layers.1.bias": ramp(len(HEADS)),
            },
            {},
        ),
    }
    for kind, (tensors, metadata) in predictors.items():
        folder = HERE / f"native_v2_{kind}"
        folder.mkdir(exist_ok=True)
        config = CONFIG | {"format_version": 2, "predictor": kind}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        metadata |= {"format": "r2router", "format_version": "2", "heads": json.dumps(HEADS)}
        save_file(tensors | {"idf": idf}, folder / "model.safetensors", metadata=metadata)


def main():
    write_version_2()
    native = HERE / "native_v1"
    native.mkdir(exist_ok=True)
    (native / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    counts = numpy.arange(len(HEADS) * DIMENSION)
    save_file(
        {
            "weights": (counts.reshape(len(HEADS), DIMENSION) / 8 - 3).astype("float32"),
            "intercepts": numpy.arange(len(HEADS)) / 4 + 0.1,
            "idf": (1 + numpy.arange(DIMENSION) / 16).astype("float32"),
        },
        native / "model.safetensors",
        metadata={"format": "r2router", "format_version": "1", "heads": json.dumps(HEADS)},
    )

    npy = HERE / "npy"
    npy.mkdir(exist_ok=True)
    matrix = numpy.arange(6, dtype="float64").reshape(2, 3) / 4
    arrays = {
        "float32": matrix.astype("float32"),
        "float64": matrix,
        "fortran": numpy.asfortranarray(matrix),
        "vector": matrix[0],
        "empty": matrix[:0],
        "scalar": numpy.float64(1),
        "cube": matrix.reshape(1, 2, 3),
        "int64": matrix.astype("int64"),
        "float16": matrix.astype("float16"),
        "big_endian": matrix.astype(">f8"),
        "complex": matrix.astype("complex64"),
        "record": numpy.zeros(2, dtype=[("x", "<f4")]),
        "object": numpy.array([{}, None], dtype=object),
    }
    for name, array in arrays.items():
        numpy.save(npy / f"{name}.npy", array, allow_pickle=name == "object")
    for version in [(2, 0), (3, 0)]:
        with open(npy / f"version_{version[0]}.npy", "wb") as file:
            numpy.lib.format.write_array(file, matrix, version=version)


if __name__ == "__main__":
    main()
