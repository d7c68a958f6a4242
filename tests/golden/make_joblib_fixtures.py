#!/usr/bin/env python3
"""Writes the fixtures of the joblib reader: tests/golden/joblib/ and tests/fuzz/corpus/joblib/.

Real joblib and scikit-learn write them, and expected_numpy<major>.json says what scikit-learn itself
holds in each. Run it in two environments, since NumPy 1 and 2 spell their globals differently and
joblib before 1.2 does not align arrays:

    numpy==2.4.* scikit-learn==1.7.2 joblib==1.6.0        -> numpy2_*.joblib
    numpy==1.26.4 scikit-learn==1.3.2 joblib==1.1.1       -> numpy1_*.joblib
"""

import json
import pathlib
import shutil

import joblib
import numpy as np
from sklearn.linear_model import Ridge

FEATURES = 5
HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "joblib"
CORPUS = HERE.parent / "fuzz" / "corpus" / "joblib"
PREFIX = "numpy" + np.__version__.split(".")[0]

expected = {}


def fitted(seed, dtype, **options):
    """A Ridge fitted on a few random rows, as the training of a head does it."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((12, FEATURES)).astype(dtype)
    y = (x @ random.standard_normal(FEATURES) + 0.25).astype(dtype)
    return Ridge(alpha=10.0, random_state=42, **options).fit(x, y)


def describe(ridge):
    coefficients = np.asarray(ridge.coef_)
    return {
        "dtype": coefficients.dtype.name,
        "coefficients": [float(value) for value in coefficients.ravel()],
        "intercept": float(np.asarray(ridge.intercept_).ravel()[0]),
    }


def write(name, value, **options):
    file = f"{PREFIX}_{name}.joblib"
    joblib.dump(value, OUT / file, **options)
    heads = value.items() if isinstance(value, dict) else [("", value)]
    expected[file] = [{"key": key, **describe(ridge)} for key, ridge in heads]


def budgets(dtype, counts=(20, 10, 4000)):
    """Not in numeric order: the dict's own order must survive."""
    return {f"{count}_score": fitted(count, dtype) for count in counts}


def with_intercept(intercept):
    ridge = fitted(7, np.float64)
    ridge.intercept_ = intercept
    return ridge


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    CORPUS.mkdir(parents=True, exist_ok=True)
    for protocol in (2, 3, 4, 5):
        write(f"float32_protocol{protocol}", budgets(np.float32), protocol=protocol)
        write(f"float64_protocol{protocol}", fitted(1, np.float64), protocol=protocol)
    write("float32_one", fitted(2, np.float32))
    write("one_budget", budgets(np.float32, [300]))
    # More than 255 memo entries, so that the pickle has the four-byte spelling of memo numbers.
    write("many_budgets_protocol2", budgets(np.float32, range(1, 21)), protocol=2)
    write("float32_zlib", budgets(np.float32), compress=("zlib", 3))
    write("float64_zlib_protocol2", fitted(3, np.float64), compress=3, protocol=2)

    write("intercept_python_float", with_intercept(0.125))
    write("intercept_python_int", with_intercept(0))
    write("intercept_float32_scalar", with_intercept(np.float32(0.1)))
    write("intercept_0d_array", with_intercept(np.array(-0.75)))
    write("intercept_1d_array", with_intercept(np.array([0.375], dtype=np.float32)))
    write("no_intercept", fitted(4, np.float64, fit_intercept=False))

    row = fitted(5, np.float64)
    row.coef_ = row.coef_.reshape(1, -1)
    row.intercept_ = np.array([row.intercept_])
    write("coef_row", row)
    # An attribute that the reader has no use for, but must step over: n_iter_ is an int32 array here.
    write("solver_lsqr", fitted(6, np.float32, solver="lsqr"))

    (OUT / f"expected_{PREFIX}.json").write_text(json.dumps(expected, indent=1) + "\n")
    for name in ("float32_protocol2", "float32_one", "float64_zlib_protocol2", "intercept_1d_array"):
        shutil.copy(OUT / f"{PREFIX}_{name}.joblib", CORPUS)


if __name__ == "__main__":
    main()
