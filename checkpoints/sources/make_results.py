"""Makes config/default.json (the pool) and results.csv, from which the default checkpoint is trained.

    python make_results.py DATA

DATA holds LiveBench's result and cost tables (livebench/table_2026_06_25.csv, cost_2026_06_25.csv)
and list prices (prices_2026-11.json, as in litellm's model_prices_and_context_window.json). Only
numbers are taken. What is assumed where nothing was measured is in this file; ../default/README.md
says why.
"""

import csv
import json
import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
POOL = HERE.parent.parent / "config/default.json"

# Left out: models without a price or under a temporary name; earlier versions of a model that is
# there; and grok-build-0.1, whose lengths in the table (171 tokens for a story) lack its reasoning,
# so that its cost is unknown.
# LiveBench's name -> (name, family, effort, catalogue name, name in the price list or None)
MODELS = {
    "gpt-5.6-sol-max": ("gpt-5.6-sol", "max", "openai/gpt-5.6-sol", "gpt-5.6-sol"),
    "gpt-5.6-terra-max": ("gpt-5.6-terra", "max", "openai/gpt-5.6-terra", "gpt-5.6-terra"),
    "gpt-5.6-luna-max": ("gpt-5.6-luna", "max", "openai/gpt-5.6-luna", "gpt-5.6-luna"),
    "gpt-5.5-xhigh": ("gpt-5.5", "xhigh", "openai/gpt-5.5", "gpt-5.5"),
    "gpt-5.4-xhigh": ("gpt-5.4", "xhigh", "openai/gpt-5.4", "gpt-5.4"),
    "gpt-5.4-mini-xhigh": ("gpt-5.4-mini", "xhigh", "openai/gpt-5.4-mini", "gpt-5.4-mini"),
    "gpt-5.4-nano-xhigh": ("gpt-5.4-nano", "xhigh", "openai/gpt-5.4-nano", "gpt-5.4-nano"),
    "gpt-5.2-2025-12-11-high": ("gpt-5.2", "high", "openai/gpt-5.2", "gpt-5.2"),
    "claude-opus-5-max-effort": ("claude-opus-5", "max", "anthropic/claude-opus-5", "claude-opus-5"),
    "claude-opus-4-8-max-effort": (
        "claude-opus-4.8",
        "max",
        "anthropic/claude-opus-4.8",
        "claude-opus-4-8",
    ),
    "claude-opus-4-7-xhigh-effort": (
        "claude-opus-4.7",
        "xhigh",
        "anthropic/claude-opus-4.7",
        "claude-opus-4-7",
    ),
    "claude-opus-4-6-thinking-auto-high-effort": (
        "claude-opus-4.6",
        "high",
        "anthropic/claude-opus-4.6",
        "claude-opus-4-6",
    ),
    "claude-sonnet-5-xhigh-effort": (
        "claude-sonnet-5",
        "xhigh",
        "anthropic/claude-sonnet-5",
        "claude-sonnet-5",
    ),
    "claude-sonnet-4-6-thinking-auto-medium-effort": (
        "claude-sonnet-4.6",
        "medium",
        "anthropic/claude-sonnet-4.6",
        "claude-sonnet-4-6",
    ),
    "claude-fable-5-max-effort": (
        "claude-fable-5",
        "max",
        "anthropic/claude-fable-5",
        "claude-fable-5",
    ),
    "gemini-3.7-flash-high": (
        "gemini-3.7-flash",
        "high",
        "google/gemini-3.7-flash",
        "gemini/gemini-3.7-flash",
    ),
    "gemini-3.6-flash-high": (
        "gemini-3.6-flash",
        "high",
        "google/gemini-3.6-flash",
        "gemini/gemini-3.6-flash",
    ),
    "gemini-3.5-flash-lite-high": (
        "gemini-3.5-flash-lite",
        "high",
        "google/gemini-3.5-flash-lite",
        "gemini/gemini-3.5-flash-lite",
    ),
    "gemini-3.1-pro-preview-high": (
        "gemini-3.1-pro-preview",
        "high",
        "google/gemini-3.1-pro-preview",
        "gemini/gemini-3.1-pro-preview",
    ),
    "grok-4.6": ("grok-4.6", "", "x-ai/grok-4.6", "xai/grok-4.6"),
    "grok-4.5": ("grok-4.5", "", "x-ai/grok-4.5", "xai/grok-4.5"),
    "grok-4.3": ("grok-4.3", "", "x-ai/grok-4.3", "xai/grok-4.3"),
    "deepseek-v4-pro-0813": (
        "deepseek-v4-pro",
        "",
        "deepseek/deepseek-v4-pro",
        "deepseek/deepseek-v4-pro",
    ),
    "deepseek-v4-flash-0731": (
        "deepseek-v4-flash",
        "",
        "deepseek/deepseek-v4-flash",
        "deepseek/deepseek-v4-flash",
    ),
    "kimi-k3": ("kimi-k3", "", "moonshotai/kimi-k3", "moonshot/kimi-k3"),
    "kimi-k2.6-thinking": ("kimi-k2.6", "", "moonshotai/kimi-k2.6", "moonshot/kimi-k2.6"),
    "kimi-k2.7-code": ("kimi-k2.7-code", "", "moonshotai/kimi-k2.7-code", "moonshot/kimi-k2.7-code"),
    "glm-5.2": ("glm-5.2", "", "z-ai/glm-5.2", "zai/glm-5.2"),
    "qwen3.8-max": ("qwen3.8-max", "", "qwen/qwen3.8-max", "dashscope/qwen3.8-max"),
    "qwen3.8-27b": ("qwen3.8-27b", "", "qwen/qwen3.8-27b", None),
    "qwen3.6-plus": ("qwen3.6-plus", "", "qwen/qwen3.6-plus", None),
    "minimax-m3": ("minimax-m3", "", "minimax/minimax-m3", None),
}

# What LiveBench measures of each kind of task. Its agentic tasks are left out: a question there is
# a session of many calls. So are consecutive_events and integrals_with_game, which are puzzles of
# their own.
MEASURED = {
    "code_generation": ["code_generation"],
    "code_editing": ["code_completion"],
    "math_competition": ["math_comp", "olympiad"],
    "math_symbolic": ["AMPS_Hard"],
    "logic_puzzle": ["zebra_puzzle", "theory_of_mind"],
    "spatial_planning": ["spatial", "logic_with_navigation"],
    "language_puzzle": ["connections", "plot_unscrambling"],
    "table_data": ["tablejoin", "tablereformat"],
    "summarise": ["summarize"],
    "paraphrase_simplify": ["paraphrase", "simplify", "typos"],
    "creative_writing": ["story_generation"],
}

# Kinds that it does not measure: the assumed mean score of these models, and the assumed length of
# an answer by a model that does not reason, in tokens. A model's score is its average on the
# measured kinds, shifted on the scale of log-odds so that the mean is the assumed one.
ASSUMED = {
    "code_reasoning": (0.92, 300),
    "math_word_problem": (0.96, 200),
    "everyday_factual": (0.93, 60),
    "knowledge_stem": (0.88, 300),
    "knowledge_humanities_social": (0.88, 250),
    "knowledge_professional": (0.85, 350),
    "instruction_following": (0.85, 400),
    "extraction_classification": (0.90, 120),
    "long_document_qa": (0.88, 250),
    "brainstorm_advice": (0.93, 600),
    "roleplay_chat": (0.95, 80),
    "safety_refusal": (0.93, 150),
    "tool_use": (0.88, 150),
    "translation": (0.94, 100),
    "small_talk": (0.97, 30),
    "quick_arithmetic": (0.98, 20),
    "short_message": (0.94, 150),
}

# The three tasks with the shortest answers, on which verbosity is measured.
SHORT = ["AMPS_Hard", "tablereformat", "typos"]


def log_odds(share: float) -> float:
    return math.log(share / (1 - share))


def shifted(averages: dict[str, float], mean: float) -> dict[str, float]:
    """The averages with equal shifts of their log-odds, so that their mean is ``mean``."""
    low, high = -20.0, 20.0
    while high - low > 1e-12:
        shift = (low + high) / 2
        values = {m: 1 / (1 + math.exp(-log_odds(a) - shift)) for m, a in averages.items()}
        low, high = (shift, high) if sum(values.values()) / len(values) < mean else (low, shift)
    return values


def main(data: Path) -> None:
    livebench = data / "livebench"
    scores = {r["model"]: r for r in csv.DictReader(open(livebench / "table_2026_06_25.csv"))}
    costs = {r["model"]: r for r in csv.DictReader(open(livebench / "cost_2026_06_25.csv"))}
    prices = json.loads((data / "prices_2026-11.json").read_text())["models"]

    models, rows, averages, verbosity = {}, [], {}, {}
    for source, (name, effort, catalogue, listed) in MODELS.items():
        cost, price = costs[source], prices.get(listed, {})
        assert (price.get("deprecation_date") or "9999") > "2026-12-27", source
        request = {"reasoning_effort": effort} if effort else {}
        models[name] = {
            "openrouter_id": catalogue,
            "input_price_per_million": price.get(
                "input_price_per_million", float(cost["input_price_per_million"])
            ),
            "output_price_per_million": price.get(
                "output_price_per_million", float(cost["output_price_per_million"])
            ),
            "family": name,
            **({"request": request} if request else {}),
            **(
                {"max_output_tokens": price["max_output_tokens"]}
                if price.get("max_output_tokens")
                else {}
            ),
            **({"retires": price["deprecation_date"]} if price.get("deprecation_date") else {}),
        }
        for kind, tasks in MEASURED.items():
            questions = [int(cost["nq_" + task]) for task in tasks]
            rows.append(
                {
                    "model": name,
                    "task": kind,
                    "score": sum(float(scores[source][task]) for task in tasks) / len(tasks) / 100,
                    "output_tokens": sum(float(cost["out_" + task]) for task in tasks) / len(tasks),
                    "questions": sum(questions),
                    "basis": "LiveBench " + " ".join(tasks),
                }
            )
        mine = [row["score"] for row in rows if row["model"] == name]
        averages[name] = sum(mine) / len(mine)
        verbosity[name] = math.exp(
            sum(math.log(float(cost["out_" + task])) for task in SHORT) / len(SHORT)
        )
    least = min(verbosity.values())
    for kind, (mean, length) in ASSUMED.items():
        for name, score in shifted(averages, mean).items():
            rows.append(
                {
                    "model": name,
                    "task": kind,
                    "score": score,
                    "output_tokens": length * verbosity[name] / least,
                    "questions": "",
                    "basis": "assumed",
                }
            )
    note = "The pool of the default checkpoint: list prices of November 2026, USD per million tokens."
    POOL.write_text(json.dumps({"note": note, "models": models}, indent=2) + "\n")
    with open(HERE / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            row["score"] = f"{row['score']:.4f}"
            row["output_tokens"] = f"{row['output_tokens']:.0f}"
            writer.writerow(row)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
