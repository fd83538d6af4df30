# SPDX-License-Identifier: BSD-3-Clause
"""report.html: one file, images inlined, nothing fetched, readable without seeing the pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from probewise.app.facts import facts, headline, summary_of

if TYPE_CHECKING:
    from probewise.experiment import Run

CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #ffffff; max-width: 80rem; margin: 0 auto;
       padding: 1.5rem; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; vertical-align: top;
       border-bottom: 1px solid #d0d0d0; } th { font-weight: 600; color: #444444; white-space: nowrap; }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figure.wide { grid-column: 1 / -1; } img { max-width: 100%; height: auto; display: block; }
figcaption { color: #444444; font-size: .9rem; }
pre { background: #f4f4f4; padding: 1rem; overflow-x: auto; font-size: .85rem; }
a { color: #0b57a4; } a:focus, summary:focus { outline: 3px solid #0b57a4; outline-offset: 2px; }
"""


def page(run: Run, figures: Sequence[tuple[str, str, bytes]]) -> str:
    """The whole document; `figures` are (title, text alternative, PNG)."""
    title = escape(headline(summary_of(run)))
    shown = [*figures, *_component_pictures(run.directory)]
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>probewise: {title}</title><style>{CSS}</style></head><body>",
            f"<header><h1>{title}</h1><p>{escape(run.directory.name)}</p></header><main>",
            "<h2>Summary</h2>",
            _table(facts(run, summary_of(run))),
            "<h2>Notices</h2>",
            _notices([str(notice) for notice in run.notices]),
            '<h2>Pictures</h2><div class="maps">',
            *(_figure(name, alternative, png) for name, alternative, png in shown),
            "</div>",
            _recall_table(run),
            f"<h2>Configuration</h2><details><summary>config.toml</summary><pre>{escape(_configuration(run))}</pre></details>",
            "</main></body></html>\n",
        ]
    )


def _configuration(run: Run) -> str:
    return str(run.configuration.to_toml())


def _table(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f"<table><tbody>{body}</tbody></table>"


def _notices(notices: Sequence[str]) -> str:
    if not notices:
        return "<p>None.</p>"
    return "<ul>" + "".join(f"<li>{escape(notice)}</li>" for notice in notices) + "</ul>"


def _figure(name: str, alternative: str, png: bytes) -> str:
    wide = ' class="wide"' if _is_wide(png) else ""
    data = base64.b64encode(png).decode()
    text = escape(alternative, quote=True)
    return (
        f'<figure{wide}><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption><strong>{escape(name)}.</strong> {escape(alternative)}</figcaption></figure>"
    )


def _is_wide(png: bytes) -> bool:
    """A PNG's width and height are the two big-endian words after its first chunk's name."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    return width > 2 * height


def _component_pictures(directory: Path) -> list[tuple[str, str, bytes]]:
    described = "Maps of the components that the descriptor offers, with the extreme patches of each."
    return [("Components", described, path.read_bytes()) for path in sorted(directory.glob("component*.png"))]


def _recall_table(run: Run) -> str:
    curve = run.recall_curve
    if curve is None or not len(curve):
        return ""
    marks = sorted({max(0, round(part * len(curve)) - 1) for part in (0.1, 0.25, 0.5, 0.75, 1.0)})
    replay = run.source.startswith("replay:")
    head = ["visits", "fraction of sites", *([] if replay else ["raster equivalents"]), "recall"]
    rows = []
    for mark in marks:
        fraction, equivalents, recall = (float(value) for value in curve[mark])
        cells = [f"{mark + 1}", f"{fraction:.3f}", *([] if replay else [f"{equivalents:.3f}"]), f"{recall:.3f}"]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return f"<h2>Recall</h2><table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
