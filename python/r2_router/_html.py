"""HTML of a decision for notebooks: the choice, and the best option of each other model.

Colours are translucent or mid-toned and text keeps the page's colour, so that it is readable in
light and dark themes; without styles (GitHub) it is a plain table.
"""

from __future__ import annotations

from html import escape

from ._views import (
    Option,
    budget_label,
    budget_phrase,
    by_model,
    dollars,
    lambda_of,
    lambda_text,
)

_ROWS = 6

_QUALITY = "#2b83ba"
_CELL = "padding:3px 6px;text-align:{};white-space:nowrap;border:0;background:none"
_MUTED = "opacity:.7"


def decision_html(decision: Option, lambda_val: float | None = None) -> str:
    """Self-contained HTML for a decision. All values are escaped."""
    models = by_model(decision)
    lambda_val = lambda_of(decision, lambda_val)
    chosen = decision["model"]
    cost = decision["predicted_cost_usd"]

    facts = [f"Predicted: quality <b>{decision['predicted_quality']:.3f}</b>"]
    if "predicted_output_tokens" in decision:
        facts.append(f"<b>{decision['predicted_output_tokens']:,.0f}</b> output tokens")
    facts.append(f"cost <b>{dollars(cost)}</b> ({dollars(1000 * cost)} per 1,000 queries)")
    if lambda_val is not None:
        facts.append(f"λ&nbsp;=&nbsp;<b>{lambda_text(lambda_val)}</b>")
    endpoint = decision.get("openrouter_id")
    title = f"<b>{escape(chosen)}</b>, {escape(budget_phrase(decision))}"
    if endpoint:
        title += f' <span style="{_MUTED}">({escape(str(endpoint))})</span>'

    parts = [
        # The classes keep notebooks from rendering text between two dollar signs as a formula.
        '<div class="tex2jax_ignore mathjax_ignore" '
        'style="margin:4px 0;font-variant-numeric:tabular-nums;line-height:1.45">',
        f'<div style="font-size:115%">{title}</div>',
        f"<div>{' · '.join(facts)}</div>",
    ]
    if len(models) > 1:
        parts.append(_table([options[0] for options in models.values()], lambda_val))
    parts.append("</div>")
    return "\n".join(parts)


def _table(best: list[Option], lambda_val: float | None) -> str:
    """One row for each model's best option; `best` starts with the chosen one."""
    headings = [
        ("left", "Best of each model"),
        ("right", "Budget"),
        ("left", "Quality"),
        ("right", "Cost per 1,000"),
        ("right", "Risk"),
    ]
    head = "".join(
        f'<th style="{_CELL.format(side)};font-weight:normal;{_MUTED}">{text}</th>'
        for side, text in headings
    )
    rows = [_row(option, lambda_val, chosen=i == 0) for i, option in enumerate(best[:_ROWS])]
    notes = []
    if _charge(best[0], lambda_val) is not None:
        notes.append("faint end of a bar: what its cost takes back at this λ")
    if len(best) > _ROWS:
        others = len(best) - _ROWS
        notes.append(f"{others} more model{'s' if others > 1 else ''} in all_options")
    note = f'<div style="font-size:85%;{_MUTED}">{"; ".join(notes)}</div>' if notes else ""
    return (
        '<table style="border-collapse:collapse;border:0;margin:6px 0 2px;font-size:92%">'
        f'<thead><tr style="background:none">{head}</tr></thead>\n'
        f"<tbody>{chr(10).join(rows)}</tbody></table>\n{note}"
    )


def _row(option: Option, lambda_val: float | None, chosen: bool) -> str:
    name = escape(option["model"])
    cells = [
        ("left", f"<b>{name}</b>" if chosen else name),
        ("right", escape(budget_label(option))),
        ("left", _bar(option, lambda_val) + f"{option['predicted_quality']:.3f}"),
        ("right", dollars(1000 * option["predicted_cost_usd"])),
        ("right", f"{option['risk']:.8f}"),
    ]
    background = f"background:{_QUALITY}22" if chosen else "background:none"
    return (
        f'<tr style="{background}">'
        + "".join(f'<td style="{_CELL.format(side)}">{text}</td>' for side, text in cells)
        + "</tr>"
    )


def _charge(option: Option, lambda_val: float | None) -> float | None:
    """The cost in units of quality at this λ; None if λ defines no such price."""
    if lambda_val is None or lambda_val == 1:
        return None
    return lambda_val / (1 - lambda_val) * float(option["predicted_cost_usd"])


def _bar(option: Option, lambda_val: float | None) -> str:
    """Quality as a bar; the part offset by the cost is faint."""
    quality = min(max(float(option["predicted_quality"]), 0), 1)
    faint = min(_charge(option, lambda_val) or 0, quality)
    segments = "".join(
        f'<span style="display:inline-block;height:9px;width:{100 * width:.1f}%;{look}"></span>'
        for width, look in (
            (quality - faint, f"background:{_QUALITY}"),
            (faint, f"background:{_QUALITY}55"),
        )
    )
    return (
        '<span style="display:inline-block;width:90px;height:9px;line-height:9px;font-size:0;'
        f'margin-right:6px;background:rgba(128,128,128,.15)">{segments}</span>'
    )
