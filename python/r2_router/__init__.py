"""r2_router: choose, for each query, a (model, token budget) pair.

    from r2_router import R2Router

    router = R2Router.from_pretrained()              # the built-in checkpoint
    decision = router.route_text("Solve the equation: 2x + 5 = 13")
    decision["model"], decision["budget"]            # whom to ask, and how many tokens to allow
"""

from __future__ import annotations

from ._decision import Decision

__all__ = ["Decision"]
