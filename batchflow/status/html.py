"""What notebooks show of a status: a table, and a bar. Everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

__all__ = ["status_html"]


def status_html(caption: str, rows: Mapping[str, str], *, done: int, total: int) -> str:
    """A table of names and texts below a caption; with a bar of `done` of `total`, unless that is 0."""
    bar = f'<progress max="{total}" value="{min(done, total)}"></progress> {done} of {total} batches' if total else ""
    lines = [f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows.items()]
    lines += [f"<tr><th>batches</th><td>{bar}</td></tr>"] if bar else []
    return f"<table><caption>{escape(caption)}</caption>{''.join(lines)}</table>"
