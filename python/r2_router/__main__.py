"""python -m r2_router: route queries from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from . import Decision, R2Router

_RULE = "-" * 60


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m r2_router",
        description="Chooses, for each query, a model and a token budget.",
        epilog="The r2-router program has more commands: train, eval, convert, info.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--query", metavar="TEXT", help="text of one query")
    source.add_argument("--file", help="a query a line, UTF-8")
    checkpoint = parser.add_mutually_exclusive_group()
    checkpoint.add_argument(
        "--checkpoint-dir", metavar="DIR", help="checkpoint folder; default: the built-in one"
    )
    checkpoint.add_argument("--hf-repo", metavar="ID", help="Hugging Face repository, owner/name")
    parser.add_argument("--embed-url", metavar="URL", help="server of embeddings")
    parser.add_argument("--llm-api-base", metavar="URL", help="endpoint that answers queries")
    parser.add_argument("--llm-api-key", metavar="KEY", help="its key")
    parser.add_argument(
        "--lambda_val",
        "--lambda",
        type=float,
        metavar="X",
        help="weight of cost (USD) against quality, 0 to 1; default: the checkpoint's",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a query")
    parser.add_argument("--verbose", action="store_true", help="show all options too")
    return parser


def _record(query: str, decision: Decision, answer: dict[str, Any], verbose: bool) -> str:
    keys = ["model", "openrouter_id", "budget", "predicted_quality", "predicted_cost_usd", "risk"]
    if verbose:
        keys.append("all_options")
    record = {"query": query} | {key: decision[key] for key in keys} | answer
    return json.dumps(record)


def _candidates(decision: Decision) -> list[str]:
    """The models that could have been chosen, in the pool's order."""
    admitted = {option["model"] for option in decision.all_options}
    return [model for model in decision.model_configs if model in admitted]


def _text(decision: Decision, answer: dict[str, Any], verbose: bool) -> str:
    budget = decision["budget"]
    unit = "" if budget == "unlimited" else " tokens"
    lines = [
        f"Selected LLM:    {decision['model']}",
        f"Selected budget: {budget}{unit}",
    ]
    if verbose:
        lines += [
            f"  {option['risk']:>12.8f}  {option['model']}, {option['budget']}: "
            f"quality {option['predicted_quality']:.4f}, ${option['predicted_cost_usd']:.8f}"
            for option in decision.all_options
        ]
    if answer:
        if answer["model"] != decision["model"]:
            lines.append(f"Answered by:     {answer['model']}, budget {answer['budget']}")
        lines += [_RULE, answer["response"]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    settings = _parser().parse_args(arguments)
    try:
        router = R2Router.from_pretrained(
            settings.hf_repo or settings.checkpoint_dir,
            settings.lambda_val,
            settings.embed_url,
            settings.llm_api_base,
            settings.llm_api_key,
            verbose=settings.verbose,
        )
        if settings.query is not None:
            queries = [settings.query]
        else:
            with open(settings.file, encoding="utf-8") as file:
                queries = [line.strip() for line in file if line.strip()]
        for position, query in enumerate(queries):
            answer: dict[str, Any] = {}
            asks = settings.llm_api_base is not None
            # What is asked must be there.
            decision = router.route_text(query, available_only=True if asks else None)
            if asks:
                answer = router.generate(query, decision)
            if settings.json:
                print(_record(query, decision, answer, settings.verbose))
            else:
                if position == 0:
                    print(f"Candidate LLMs:  {', '.join(_candidates(decision))}")
                if len(queries) > 1:
                    print(f"\nQuery:           {query}")
                print(_text(decision, answer, settings.verbose))
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"r2_router: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
