#!/usr/bin/env python3
"""Writes the fixtures of the joblib reader: tests/golden/joblib/ and tests/fuzz/corpus/joblib/.

Real joblib and scikit-learn write them, and expected_numpy<major>.json says what scikit-learn itself
holds in each. Run it in two environments, since NumPy 1 and 2 spell their globals differently and
joblib before 1.2 does not align arrays:

    numpy==2.4.* scikit-learn==1.7.2 joblib==1.6.0        -> numpy2_*.joblib
    numpy==1.26.4 scikit-learn==1.3.2 joblib==1.1.1       -> numpy1_*.joblib

Both need pandas, cloudpickle and lz4 as well.
"""

import gzip
import json
import pathlib
import pickle
import shutil

import cloudpickle
import joblib
import numpy as np
import pandas
from sklearn import linear_model
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR

FEATURES = 5
HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "joblib"
CORPUS = HERE.parent / "fuzz" / "corpus" / "joblib"
PREFIX = "numpy" + np.__version__.split(".")[0]

expected = {}


def rows(seed, dtype):
    random = np.random.RandomState(seed)
    x = random.standard_normal((12, FEATURES)).astype(dtype)
    return x, (x @ random.standard_normal(FEATURES) + 0.25).astype(dtype)


def fitted(seed, dtype, **options):
    """A Ridge fitted on a few random rows, as the training of a head does it."""
    return Ridge(alpha=10.0, random_state=42, **options).fit(*rows(seed, dtype))


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


def write_pickle(name, value, protocol, module=pickle):
    file = f"{PREFIX}_{name}.joblib"
    (OUT / file).write_bytes(module.dumps(value, protocol=protocol))
    heads = value.items() if isinstance(value, dict) else [("", value)]
    expected[file] = [{"key": key, **describe(ridge)} for key, ridge in heads]


def with_coefficients(change):
    ridge = fitted(8, np.float64)
    ridge.coef_ = change(ridge.coef_)
    return ridge


def on_frame(seed):
    """Fitted on a DataFrame, whose column names become an array of Python objects."""
    x, y = rows(seed, np.float64)
    return Ridge().fit(pandas.DataFrame(x, columns=[f"e{i}" for i in range(FEATURES)]), y)


def regressors():
    """One of each class that is a plain linear regressor."""
    x, y = rows(9, np.float64)
    models = [
        linear_model.RidgeCV(alphas=[0.1, 1.0]),
        linear_model.LinearRegression(),
        linear_model.Lasso(alpha=0.01),
        linear_model.LassoCV(cv=3),
        linear_model.ElasticNet(alpha=0.01),
        linear_model.ElasticNetCV(cv=3),
        linear_model.BayesianRidge(),
        linear_model.ARDRegression(),
        linear_model.HuberRegressor(),
        linear_model.SGDRegressor(random_state=0),
        linear_model.Lars(),
        linear_model.LassoLars(alpha=0.01),
        linear_model.OrthogonalMatchingPursuit(),
        linear_model.PassiveAggressiveRegressor(random_state=0),
        linear_model.QuantileRegressor(alpha=0.01, solver="highs"),
        linear_model.TheilSenRegressor(random_state=0),
        LinearSVR(random_state=0, max_iter=10000),
    ]
    return {f"{i + 1}_score": model.fit(x, y) for i, model in enumerate(models)}


def refused(name, value, **options):
    """Files that must be refused: they have no expected numbers."""
    joblib.dump(value, OUT / f"{PREFIX}_refused_{name}.joblib", **options)


def write_variants():
    for method in ("gzip", "bz2", "xz", "lzma"):
        write(f"compressed_{method}", budgets(np.float32), compress=(method, 3))
    file = f"{PREFIX}_gzip_open.joblib"
    with gzip.open(OUT / file, "wb") as stream:
        joblib.dump(fitted(10, np.float64), stream)
    expected[file] = [{"key": "", **describe(fitted(10, np.float64))}]
    for protocol in range(6):
        write_pickle(f"pickle_protocol{protocol}", budgets(np.float64, (20, 10)), protocol)
    write_pickle("pickle_float32", fitted(11, np.float32), 4)
    write_pickle("cloudpickle", fitted(12, np.float64), None, cloudpickle)
    write_pickle("pickle_frame", {"10_score": on_frame(13), "20_score": on_frame(14)}, 4)
    write("frame", {"10_score": on_frame(13), "20_score": on_frame(14)})
    write("regressors", regressors())
    write_pickle("pickle_regressors", regressors(), 2)
    write("half", with_coefficients(lambda values: values.astype(np.float16)))
    write("big_endian", with_coefficients(lambda values: values.astype(">f8")))
    write("big_endian_float32", with_coefficients(lambda values: values.astype(">f4")))
    write("fortran_row", with_coefficients(lambda values: np.asfortranarray(values[None])))
    write_pickle("pickle_half", with_coefficients(lambda values: values.astype(np.float16)), 4)
    x, y = rows(15, np.float64)
    # What attributes that the reader has no use for may hold.
    write("random_state", Ridge(solver="sag", random_state=np.random.RandomState(0)).fit(x, y))
    write("splitter", linear_model.RidgeCV(cv=KFold(3)).fit(x, y))

    refused("pipeline", make_pipeline(StandardScaler(), Ridge()).fit(x, y))
    refused("search", GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=3).fit(x, y))
    refused("forest", RandomForestRegressor(n_estimators=2, max_depth=2).fit(x, y))
    mixed = {"10_score": Ridge().fit(x, y), "20_score": make_pipeline(StandardScaler(), Ridge())}
    refused("mixed", mixed)
    refused("lz4", fitted(16, np.float32), compress=("lz4", 3))


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

    write_variants()

    (OUT / f"expected_{PREFIX}.json").write_text(json.dumps(expected, indent=1) + "\n")
    for name in ("float32_protocol2", "float32_one", "float64_zlib_protocol2", "intercept_1d_array",
                 "pickle_protocol0", "pickle_protocol5", "frame", "compressed_xz", "compressed_bz2",
                 "compressed_gzip", "compressed_lzma", "random_state"):
        shutil.copy(OUT / f"{PREFIX}_{name}.joblib", CORPUS)


if __name__ == "__main__":
    main()
