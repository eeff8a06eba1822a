"""Markdown tables, which read well in a terminal, too."""

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose columns are as wide as their widest cell.

    Cells are written by `str`, on one line; a ``|`` inside one is escaped.

    Raises:
        ValueError: A row has more or fewer cells than the head.
    """
    lines = [[_cell(value) for value in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = ([cell.ljust(w) for cell, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _cell(value: object) -> str:
    return " ".join(str(value).splitlines()).replace("|", r"\|")
