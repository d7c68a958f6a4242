"""
The native library behind r2_router. Private: use the package.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
import typing_extensions
__all__: list[str] = ['Allowance', 'CancelSource', 'Checkpoint', 'Choice', 'Client', 'Data', 'DecisionBatch', 'Endpoint', 'EvaluationOptions', 'HttpEncoder', 'LexicalEncoder', 'Policy', 'PriceSync', 'PricedBatch', 'QuerySize', 'ROW_REASONS', 'Recipe', 'RouteOptions', 'Router', 'RouterEvaluation', 'Statistics', 'TotalCurve', 'UNLIMITED', 'add_model', 'add_model_from_tasks', 'api_key_from_environment', 'available_kernels', 'calibrate', 'check_column', 'checkpoint_folder', 'compare_prices', 'cross_validate', 'default_checkpoint_path', 'estimate_input_tokens', 'evaluate', 'learning_curve', 'load_policy', 'measure_stability', 'named_policy_path', 'read_data', 'run_program', 'settings', 'train', 'train_on_tasks', 'write_prices']
class Policy:
    """
    Settings of a choice.
    """
class RouteOptions:
    """
    What one call may set.
    """
    def __init__(self, settings: dict[str, typing.Any], policy: Policy | None = None, default_lambda: typing.Any = None) -> None:
        """
        settings: by keyword, over those of policy. default_lambda: used if neither sets a trade-off.
        """
class QuerySize:
    """
    How long a query is, and what is sent with it.
    """
    def __init__(self, input_tokens: typing.Any = None, images: typing.Any = None, requires: typing.Any = None) -> None:
        """
        input_tokens: None if it is estimated. requires: names of capabilities.
        """
class Checkpoint:
    """
    A trained router as plain data.
    """
    @staticmethod
    def load(folder: str, log: typing.Any = None) -> Checkpoint:
        ...
    def __getstate__(self) -> tuple[str, list[tuple[int, typing.Any, str]], typing.Any, list[numpy.ndarray], list[float], list[tuple[list[float], list[float]]]]:
        ...
    def __init__(self, config: str, head_names: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.Any, str]], weights: numpy.ndarray, intercepts: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None:
        ...
    def __setstate__(self, arg0: tuple[str, collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.Any, str]], typing.Any, collections.abc.Sequence[numpy.ndarray], collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], collections.abc.Sequence[tuple[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]]]]) -> None:
        ...
    def save(self, folder: str) -> None:
        ...
    def with_lambda(self, lambda_val: typing.SupportsFloat | typing.SupportsIndex) -> Checkpoint:
        """
        A copy with another default trade-off.
        """
    @property
    def default_lambda(self) -> float:
        ...
    @property
    def dimension(self) -> int:
        ...
    @property
    def embedding_model(self) -> str:
        ...
    @property
    def has_encoder(self) -> bool:
        ...
    @property
    def head_names(self) -> list[tuple[int, typing.Any, str]]:
        """
        (model index, budget, target) of each head.
        """
    @property
    def intercepts(self) -> list[float]:
        ...
    @property
    def model_configs(self) -> dict[str, dict[str, typing.Any]]:
        ...
    @property
    def predictor(self) -> str:
        """
        "ridge", "knn" or "mlp".
        """
    @property
    def weights(self) -> numpy.ndarray:
        """
        (heads, dimension), read-only.
        """
class Choice:
    """
    A choice, with what it takes to rank the alternatives.
    """
    def details(self) -> dict[str, typing.Any]:
        """
        Its cap, worst-case cost, quality spread and reason.
        """
    def explain(self) -> dict[str, typing.Any]:
        """
        The runner-up, and what each constraint left out.
        """
    def rank(self) -> list[dict[str, typing.Any]]:
        """
        Every admitted option, best first.
        """
    def values(self) -> dict[str, typing.Any]:
        """
        The chosen option.
        """
    @property
    def input_tokens(self) -> int:
        ...
    @property
    def lambda_val(self) -> float:
        ...
class DecisionBatch:
    """
    Decisions for many queries, column by column. Immutable.
    """
    def __arrow_c_array__(self, requested_schema: typing.Any = None) -> tuple[typing_extensions.CapsuleType, typing_extensions.CapsuleType]:
        ...
    def __arrow_c_stream__(self, requested_schema: typing.Any = None) -> typing_extensions.CapsuleType:
        ...
    def __len__(self) -> int:
        ...
    def columns(self) -> dict[str, numpy.ndarray]:
        """
        Read-only NumPy arrays by name. decided: whether a row has a decision; the other figures of one that has none mean nothing. model: index; reason: index into ROW_REASONS. Arrays of float64 share the memory of the batch.
        """
class Allowance:
    """
    What the rows of a table may cost, for the second pass. Immutable.
    """
    def __init__(self, worst_case: bool, price_usd: typing.SupportsFloat | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, spent_usd: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def __reduce__(self) -> tuple[type, tuple[bool, float, int, float]]:
        ...
    def after(self, count: typing.SupportsInt | typing.SupportsIndex) -> Allowance:
        """
        For the rows after the first ones.
        """
    def arguments(self) -> tuple[bool, float, int, float]:
        """
        Those that make an equal one.
        """
    @property
    def price_usd(self) -> float:
        ...
    @property
    def spent_usd(self) -> float:
        ...
class TotalCurve:
    """
    What more money buys for the rows of a table, the first pass.
    """
    @staticmethod
    def from_bytes(bytes: bytes) -> TotalCurve:
        ...
    def __init__(self, worst_case: bool, most_steps: typing.SupportsInt | typing.SupportsIndex | None = None, range: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex] = ..., every: typing.SupportsInt | typing.SupportsIndex = 1) -> None:
        """
        worst_case: the total is of worst cases. most_steps: above it, prices are rounded; 0: from the start, for rows in any order. range: of prices. every: of so many rows one is priced, as a sample.
        """
    def allowance(self, usd: typing.SupportsFloat | typing.SupportsIndex) -> Allowance:
        ...
    def merge(self, later: TotalCurve) -> None:
        ...
    def range_near(self, usd: typing.SupportsFloat | typing.SupportsIndex) -> tuple[float, float]:
        """
        A range for all rows, from a sample of them.
        """
    def reaches(self, usd: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        Whether the range has the price that spends it.
        """
    def to_bytes(self) -> bytes:
        ...
    @property
    def rows(self) -> int:
        ...
class PricedBatch:
    """
    The first pass of a total, which keeps the decisions of the rows.
    """
    def __init__(self, curve: TotalCurve) -> None:
        """
        curve: is added to; empty.
        """
    def take(self, allowance: Allowance) -> DecisionBatch:
        """
        The decisions within an allowance of the curve. None are left for another call.
        """
class CancelSource:
    """
    Cancels the calls that it was passed to. Thread-safe.
    """
    def __init__(self) -> None:
        ...
    def cancel(self) -> None:
        ...
class Endpoint:
    """
    A server and how to call it.
    """
    def __init__(self, base_url: str, api_key: str | None = None, ca_file: str = '', timeout: typing.SupportsFloat | typing.SupportsIndex | None = None) -> None:
        ...
class HttpEncoder:
    """
    Embeddings from a server.
    """
    def __init__(self, endpoint: Endpoint, model: str, dimension: typing.SupportsInt | typing.SupportsIndex, cache_bytes: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def cache_counts(self) -> tuple[int, int]:
        """
        Hits and misses so far.
        """
    def embed(self, texts: collections.abc.Sequence[str], cancel: CancelSource) -> numpy.typing.NDArray[numpy.float32]:
        ...
class Client:
    """
    Answers from a server.
    """
    def __init__(self, endpoint: Endpoint, provider: str = '') -> None:
        ...
class Router:
    """
    Immutable; every method may be called from many threads.
    """
    def __init__(self, checkpoint: Checkpoint, kernel: str = '') -> None:
        ...
    def embed(self, texts: collections.abc.Sequence[str]) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def generate(self, client: Client, messages: collections.abc.Sequence[tuple[str, str]], choice: Choice, temperature: typing.SupportsFloat | typing.SupportsIndex | None, timeout: typing.SupportsFloat | typing.SupportsIndex | None, max_fallbacks: typing.SupportsInt | typing.SupportsIndex, split_thinking: bool, on_text: typing.Any, cancel: CancelSource) -> dict[str, typing.Any]:
        ...
    def generate_pair(self, client: Client, messages: collections.abc.Sequence[tuple[str, str]], model: typing.SupportsInt | typing.SupportsIndex, budget: typing.Any, temperature: typing.SupportsFloat | typing.SupportsIndex | None, timeout: typing.SupportsFloat | typing.SupportsIndex | None, split_thinking: bool, on_text: typing.Any, cancel: CancelSource, max_tokens: typing.SupportsInt | typing.SupportsIndex | None = None, max_cost_usd: typing.SupportsFloat | typing.SupportsIndex | None = None) -> dict[str, typing.Any]:
        """
        max_tokens: the cap, None: that of the pair. max_cost_usd: of all attempts together; one whose outcome is unknown counts in full.
        """
    def quality_curves(self, embedding: numpy.ndarray, input_tokens: typing.SupportsInt | typing.SupportsIndex) -> list[tuple[int, numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64]]]:
        """
        For each model (index, budgets, quality, output_tokens, cost_usd).
        """
    def route(self, embedding: numpy.ndarray, options: RouteOptions, size: QuerySize) -> Choice:
        ...
    def route_batch(self, embeddings: numpy.ndarray, options: RouteOptions, size: QuerySize, input_tokens: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], texts: collections.abc.Sequence[str], threads: typing.SupportsInt | typing.SupportsIndex = 0) -> DecisionBatch:
        """
        input_tokens: one for each row, or none to use the size's. texts: those that the rows are embeddings of, for their lengths, or none.
        """
    def route_rows(self, texts: collections.abc.Sequence[str | None], embeddings: numpy.ndarray | None, options: RouteOptions, size: QuerySize, threads: typing.SupportsInt | typing.SupportsIndex = 0, total: None | TotalCurve | PricedBatch | Allowance = None) -> DecisionBatch | None:
        """
        texts: some may be None; or empty. embeddings: of the same rows, or None.
        """
    def route_stream(self, stream: typing_extensions.CapsuleType, column: str, texts: bool, options: RouteOptions, size: QuerySize, threads: typing.SupportsInt | typing.SupportsIndex = 0, total: None | TotalCurve | PricedBatch | Allowance = None) -> DecisionBatch | None:
        """
        stream: an Arrow capsule of a table, or of a column if that has no name. texts: whether the column has to be of texts or of embeddings. total: a TotalCurve to add to, an Allowance, or None.
        """
    def route_texts(self, texts: collections.abc.Sequence[str], embeddings: numpy.ndarray, options: RouteOptions, size: QuerySize) -> list[Choice]:
        """
        The choice for each row of embeddings, of which texts say how long the queries are unless size does.
        """
    def route_vectors(self, vectors: collections.abc.Sequence[numpy.ndarray | None], options: RouteOptions, size: QuerySize, threads: typing.SupportsInt | typing.SupportsIndex = 0, total: None | TotalCurve | PricedBatch | Allowance = None) -> DecisionBatch | None:
        """
        vectors: contiguous arrays of float32 or float64, or None.
        """
class Data:
    """
    Queries, with their outcomes and embeddings if known.
    """
    def set_embeddings(self, embeddings: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> None:
        ...
    @property
    def has_embeddings(self) -> bool:
        ...
    @property
    def texts(self) -> list[str]:
        ...
class PriceSync:
    """
    The changes that a catalogue makes to a pool.
    """
    @property
    def after(self) -> str:
        ...
    @property
    def any_unknown(self) -> bool:
        ...
    @property
    def before(self) -> str:
        ...
    @property
    def changes(self) -> list[str]:
        ...
    @property
    def large_changes(self) -> list[str]:
        ...
    @property
    def retiring(self) -> list[str]:
        ...
    @property
    def unlisted(self) -> list[str]:
        ...
class LexicalEncoder:
    """
    Settings of the built-in encoder.
    """
    def __init__(self, dimension: typing.SupportsInt | typing.SupportsIndex, features: collections.abc.Sequence[tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]], seed: typing.SupportsInt | typing.SupportsIndex, fold_digits: bool, square_root: bool, idf: bool) -> None:
        ...
class Recipe:
    """
    How a router is trained.
    """
    def __init__(self, *, encoder: LexicalEncoder | None = None, topics: bool = False, augment: bool = False, predictor: str = 'ridge', alphas: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex] = [], neighbours: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [], folds: typing.SupportsInt | typing.SupportsIndex = 5, holdout: typing.SupportsInt | typing.SupportsIndex = 5, seed: typing.SupportsInt | typing.SupportsIndex = 0, threads: typing.SupportsInt | typing.SupportsIndex = 0, budget_prompt: str = '', embedding_model: str = '', prior: Checkpoint | None = None, progress: typing.Any = None, log: typing.Any = None) -> None:
        ...
class Statistics:
    """
    Sums over the outcomes of queries.
    """
    @staticmethod
    def from_bytes(contents: bytes) -> Statistics:
        ...
    @staticmethod
    def load(file: str) -> Statistics:
        ...
    def __init__(self, *, pool: str, models: collections.abc.Sequence[str], dimension: typing.SupportsInt | typing.SupportsIndex, encoder: LexicalEncoder | None, embedding_model: str, token_limits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], budget_prompt: str, folds: typing.SupportsInt | typing.SupportsIndex, holdout: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, sample: typing.SupportsInt | typing.SupportsIndex, cost: str) -> None:
        ...
    def add(self, *, queries: str, outcomes: str, embeddings: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None, ignore_unknown_models: bool, threads: typing.SupportsInt | typing.SupportsIndex, log: typing.Any) -> None:
        ...
    def merge(self, other: Statistics) -> None:
        ...
    def save(self, file: str) -> None:
        ...
    def solve(self, *, alphas: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any) -> tuple[Checkpoint, dict[str, typing.Any], str]:
        """
        Returns the checkpoint, a report, and the report as text.
        """
    def to_bytes(self) -> bytes:
        ...
    @property
    def dimension(self) -> int:
        ...
    @property
    def held_out_queries(self) -> int:
        ...
    @property
    def sampled_queries(self) -> int:
        ...
    @property
    def training_queries(self) -> int:
        ...
class EvaluationOptions:
    """
    Settings of an evaluation.
    """
    def __init__(self, *, name: str = 'router', rivals: collections.abc.Sequence[tuple[str, Checkpoint]] = [], against: collections.abc.Sequence[str] = [], available_only: bool = False, by_dataset: bool = False, resamples: typing.SupportsInt | typing.SupportsIndex = 1000, seed: typing.SupportsInt | typing.SupportsIndex = 0, progress: typing.Any = None, log: typing.Any = None) -> None:
        ...
class RouterEvaluation:
    """
    The results of an evaluation.
    """
    def csv(self) -> str:
        ...
    def html(self) -> str:
        ...
    def json(self) -> str:
        ...
    def summary(self) -> str:
        ...
    def text(self) -> str:
        ...
def add_model(*, checkpoint: Checkpoint, data: Data, model: str, probes: typing.SupportsInt | typing.SupportsIndex, holdout: typing.SupportsInt | typing.SupportsIndex | None, seed: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any, log: typing.Any) -> tuple[Checkpoint, dict[str, typing.Any], str]:
    """
    Returns the checkpoint, a report, and the report as text.
    """
def add_model_from_tasks(*, checkpoint: Checkpoint, results: str, model: str, pool: str, log: typing.Any) -> tuple[Checkpoint, str, str]:
    """
    Returns the checkpoint, a report as JSON, and the report as text.
    """
def api_key_from_environment() -> str | None:
    """
    The value of OPENROUTER_API_KEY, or None.
    """
def available_kernels() -> list[str]:
    """
    Compute kernels that this machine can run, slowest first.
    """
def calibrate(*, checkpoint: Checkpoint, data: Data, holdout: typing.SupportsInt | typing.SupportsIndex | None, target: str, fraction: bool, resamples: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, policy: Policy | None, progress: typing.Any, log: typing.Any) -> tuple[str, str, dict[str, typing.Any]]:
    """
    Returns the policy as JSON, the report as text, and the report.
    """
def check_column(stream: typing_extensions.CapsuleType, column: str, texts: bool) -> None:
    """
    Raises what Router.route_stream raises for the type of the column.
    """
def checkpoint_folder(name: str) -> str:
    """
    Folder of a checkpoint that is named by its path or as an installed one.
    """
def compare_prices(*, pool: str, base_url: str, source: str, ca_file: str, ignored: collections.abc.Sequence[str], log: typing.Any) -> PriceSync:
    ...
def cross_validate(*, data: Data, recipe: Recipe, folds: typing.SupportsInt | typing.SupportsIndex, options: EvaluationOptions) -> RouterEvaluation:
    ...
def default_checkpoint_path() -> str:
    """
    Folder of the default checkpoint.
    """
def estimate_input_tokens(text: str) -> int:
    ...
def evaluate(*, checkpoint: Checkpoint, data: Data, holdout: typing.SupportsInt | typing.SupportsIndex | None, options: EvaluationOptions) -> RouterEvaluation:
    ...
def learning_curve(*, prior: Checkpoint, data: Data, sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None, holdout: typing.SupportsInt | typing.SupportsIndex | None, seed: typing.SupportsInt | typing.SupportsIndex, recipe: Recipe) -> tuple[str, str]:
    """
    Returns the curve as JSON and as text.
    """
def load_policy(policy: str, checkpoint_folder: str) -> Policy:
    """
    policy: a file, or a name in the folder; an empty folder: there is none.
    """
def measure_stability(*, checkpoint: Checkpoint, data: Data, holdout: typing.SupportsInt | typing.SupportsIndex | None, progress: typing.Any) -> str:
    ...
def named_policy_path(name: str, checkpoint_folder: str) -> str:
    """
    Where the folder keeps the policy of a name.
    """
def read_data(*, queries: str, outcomes: str, pool: str = '', checkpoint: Checkpoint | None = None, model: str = '', dataset: str = '', embeddings: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None = None, cost: str = 'usd', ignore_unknown_models: bool = False, sources: collections.abc.Sequence[str] = [], models: collections.abc.Sequence[str] = [], coverage: typing.SupportsFloat | typing.SupportsIndex = 0.99, token_limits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [], log: typing.Any = None) -> Data:
    """
    Queries and outcomes from files; only queries if outcomes is empty.
    """
def run_program(arguments: collections.abc.Sequence[bytes]) -> int:
    """
    Runs r2-router and returns its exit code. SIGPIPE must be ignored.
    """
def settings() -> list[dict[str, typing.Any]]:
    """
    Every setting of a policy, as the native library has it.
    """
def train(*, data: Data, recipe: Recipe) -> tuple[Checkpoint, dict[str, typing.Any], str]:
    """
    Returns the checkpoint, a report, and the report as text.
    """
def train_on_tasks(*, results: str, prompts: str, pool: str, vectors: str, token_limits: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], data_date: str, seed: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any, log: typing.Any) -> tuple[Checkpoint, str, str]:
    """
    Returns the checkpoint, a report as JSON, and the report as text.
    """
def write_prices(pool: str, sync: PriceSync) -> None:
    ...
ROW_REASONS: tuple[typing.Any, ...] = ('risk', 'usd', 'cheapest', 'best', 'quality_missed', 'null', 'empty', 'wrong_length', 'not_finite', 'no_option', 'no_embedding')
UNLIMITED: int = -1
__version__: str = '0.2.0'
