"""Routes a data set of Ray Data.

import ray
import r2_router.ray

routed = r2_router.ray.route(ray.data.read_parquet("prompts/"), text="prompt")
routed.write_parquet("routed/")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._router import R2Router

if TYPE_CHECKING:
    import pyarrow
    import ray.data

__all__ = ["route"]


class _Worker:
    """An actor's router."""

    def __init__(self, router: R2Router, options: dict[str, Any]) -> None:
        self.router = router
        self.options = options

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        return self.router.route_table(table, **self.options)


def route(
    dataset: ray.data.Dataset,
    router: R2Router | None = None,
    *,
    concurrency: int | tuple[int, int] = (1, 64),
    batch_size: int = 8192,
    **options: Any,
) -> ray.data.Dataset:
    """Appends the columns of ``R2Router.route_table`` to a data set, with the same options.

    ``router=None`` uses the default checkpoint. ``concurrency``: the number of actors, each with
    one core, or its minimum and maximum. Each receives the router once. Ray restarts those that
    fail.
    """
    options.setdefault("threads", 1)
    return dataset.map_batches(
        _Worker,
        fn_constructor_args=(router or R2Router.from_pretrained(), options),
        batch_format="pyarrow",
        batch_size=batch_size,
        concurrency=concurrency,
        num_cpus=1,
        zero_copy_batch=True,
    )
