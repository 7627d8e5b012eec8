"""One self-contained HTML page: images inside, no script, no font and no style from elsewhere."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from voxridge.streams.atomic import atomic_path

_LONG = 6  # headings


@dataclass
class Report:
    """Collects the parts of the page in order; every text given is escaped.

    Parameters
    ----------
    title : str
        The page's.
    kicker : str
        A line above it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from voxridge.report.html import Report
    >>> page = Report("Two stories", "voxridge")
    >>> page.text("Scores of the held-out story.")
    >>> page.table(["area", "r"], [["auditory", 0.44]])
    >>> page.write(Path("report.html"), footer="made here").name
    'report.html'
    """

    title: str
    kicker: str
    _parts: list[str] = field(default_factory=list)
    _headings: dict[str, str] = field(default_factory=dict)

    def heading(self, text: str) -> None:
        """A heading; a page with many of them lists them below its title.

        Parameters
        ----------
        text : str
        """
        anchor = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        while anchor in self._headings:
            anchor += "-"
        self._headings[anchor] = text
        self._parts.append(f'<h2 id="{anchor}">{html.escape(text)}</h2>')

    def _contents(self) -> str:
        if len(self._headings) < _LONG:
            return ""
        links = "".join(
            f'<li><a href="#{anchor}">{html.escape(text)}</a></li>' for anchor, text in self._headings.items()
        )
        return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'

    def text(self, text: str, *, lead: bool = False) -> None:
        """A paragraph.

        Parameters
        ----------
        text : str
        lead : bool
            In larger letters.
        """
        kind = ' class="lead"' if lead else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def note(self, text: str, *, warning: bool = False) -> None:
        """A paragraph set apart.

        Parameters
        ----------
        text : str
        warning : bool
            In the colour of warnings.
        """
        kind = "note warn" if warning else "note"
        self._parts.append(f'<p class="{kind}">{html.escape(text)}</p>')

    def cards(self, cards: Sequence[tuple[str, str, str]]) -> None:
        """Key numbers: (value, what it is, remark).

        Parameters
        ----------
        cards : sequence of (value, name, remark)
        """
        inner = "".join(
            f'<div class="card"><b>{html.escape(value)}</b><span>{html.escape(name)}</span>'
            f"<small>{html.escape(remark)}</small></div>"
            for value, name, remark in cards
        )
        # Full rows: six cards as two rows of three.
        columns = 3 if len(cards) % 3 == 0 else 4
        self._parts.append(f'<div class="cards" style="--columns:{columns}">{inner}</div>')

    def figure(self, path: Path, caption: str, *, alt: str, narrow: bool = False) -> None:
        """Embed a PNG file.

        Parameters
        ----------
        path : Path
        caption : str
        alt : str
            For readers who cannot see it.
        narrow : bool
        """
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        kind = ' class="narrow"' if narrow else ""
        self._parts.append(
            f'<figure{kind}><img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], *, tall: bool = False) -> None:
        """Numbers with three decimals; a tall table scrolls.

        Parameters
        ----------
        header : sequence of str
        rows : sequence of sequences
        tall : bool
        """
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(_cell(x))}</td>' for x in row)}</tr>" for row in rows
        )
        kind = "scroll tall" if tall else "scroll"
        self._parts.append(
            f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def settings(self, values: Mapping[str, Any], *, summary: str | None = None) -> None:
        """A two-column table of names and values; nested mappings become ``name.key``; folded when
        summarised.

        Parameters
        ----------
        values : mapping
        summary : str, optional
            Folds the table below this line.
        """
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(_plain(value))}</td></tr>"
            for name, value in flatten(values)
        )
        table = f'<div class="scroll"><table class="settings"><tbody>{rows}</tbody></table></div>'
        if summary is not None:
            table = f"<details><summary>{html.escape(summary)}</summary>{table}</details>"
        self._parts.append(table)

    def items(self, items: Sequence[str]) -> None:
        """A list.

        Parameters
        ----------
        items : sequence of str
        """
        self._parts.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>")

    def render(self, footer: str) -> str:
        """The whole page.

        Parameters
        ----------
        footer : str
        """
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_style()}</style></head><body><main>"
            f'<p class="kicker">{html.escape(self.kicker)}</p><h1>{html.escape(self.title)}</h1>'
            f"{self._contents()}{''.join(self._parts)}<footer>{html.escape(footer)}</footer></main></body></html>\n"
        )

    def write(self, path: Path, footer: str) -> Path:
        """Write the page under a temporary name and rename it.

        Parameters
        ----------
        path : Path
        footer : str
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.render(footer), encoding="utf-8")
        return path


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as (dotted name, value) pairs, in order.

    Parameters
    ----------
    values : mapping
    prefix : str
        In front of every name.

    Examples
    --------
    >>> flatten({"a": 1, "b": {"c": 2}})
    [('a', 1), ('b.c', 2)]
    """
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _plain(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(entry) for entry in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    # bool is an int and numpy floats are floats: only real fractions get decimals.
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def _style() -> str:
    return resources.files("voxridge").joinpath("data", "report.css").read_text(encoding="utf-8")
