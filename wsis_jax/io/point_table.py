"""Tables of points as texts: which lines are the header and which are rows, and the numbers in their fields."""

import codecs
import csv
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from wsis_jax.core import MissingFile, UserError, first_of, read_text, reading

_FARTHEST = 1e9  # no image has so many pixels a side, or frames; squares of it can still be summed
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the first bytes of what Excel calls Unicode text
_EXCEL = "a workbook of Excel; save the points as CSV (in Excel: File > Save As > CSV), and give that file"
_CALC = "a spreadsheet; save the points as CSV (in LibreOffice: File > Save As > Text CSV), and give that file"
_IMAGE = "an image; give a table of points, or, if it holds a label for each cell, wsis points --labels"
_MARKED = "; save the points as a table in CSV (of QuPath: Measure > Export measurements), and give that file"
# What to say of files of other kinds, by their first bytes.
_KINDS = {
    b"\xd0\xcf\x11\xe0": _EXCEL,  # from before 2007
    b"PK\x03\x04": "a ZIP file without ROIs of ImageJ; unpack it, and give the file of points",
    b"PAR1": "a Parquet file; save the points as CSV, with a header `row,column`",
    b"\x93NUMPY": "an array of NumPy; save the points as CSV, with a header `row,column`, or, of a _seg.npy of "
    "Cellpose, its masks as TIFF, and give these to wsis points --labels",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff"), _IMAGE),
    b"{": f"JSON or GeoJSON{_MARKED}",
    b"[": f"JSON or GeoJSON{_MARKED}",
    b"<": "XML or HTML; save the points as a table in CSV, and give that file",
}
_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


class Table(NamedTuple):
    """A table whose first line names the columns.

    Attributes:
        path: the file, for messages.
        names: of the columns, without blanks and `#` around them.
        rows: the fields of each line, as many as names.
        lines: the number of each line in the file, counted from 1.
        units: of the columns where the file tells them, in the words of the program that wrote it; or none.
        decimal_comma: whether a comma may stand for the decimal point, as no comma separates the fields.
        faults: of lines that have another number of fields than the header, and are not rows: what is wrong with
            each, by its number.
    """

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    units: list[str]
    decimal_comma: bool
    faults: dict[int, str]

    def numbers(self, columns: Sequence[int]) -> Float64[np.ndarray, "rows columns"]:
        """Returns the finite numbers in some columns.

        Raises:
            UserError: if there is none in a field, or one beyond any image, or a line has too many or too few
                fields; it tells of ten lines, and the number of others.
        """
        values, faults, remedy = np.zeros((len(self.rows), len(columns))), dict(self.faults), "correct it"
        for row, line in enumerate(self.lines):
            for place, column in enumerate(columns):
                number = self._number(row, column)
                if isinstance(number, str):
                    faults[line], remedy = number, "correct the line"
                    break
                values[row, place] = number
        if faults:
            told = "; ".join(first_of([faults[line] for line in sorted(faults)]))
            raise UserError(f"{self.path}: {told}; {remedy if len(faults) == 1 else 'correct these lines'}")
        return values

    def _number(self, row: int, column: int) -> float | str:
        """Returns the number in a field, or what is wrong with it."""
        field, name = self.rows[row][column], self.names[column][:40]
        place = f"in line {self.lines[row]}, column {name},"
        text = field.replace(",", ".") if self.decimal_comma and _COMMA.fullmatch(field) else field
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            return f"`{field.strip()[:40]}` {place} is not a number"
        return f"{value:g} {place} is too large" if abs(value) > _FARTHEST else value


def read_table(path: Path) -> Table:
    """Reads a table in UTF-8, or in UTF-16 with its mark, whose fields commas, semicolons or tabs separate.

    Blank lines, lines of separators alone, and the line `sep=;` of Excel are left out; so are the three lines of
    names and units below the header of TrackMate.

    Raises:
        MissingFile: if there is no such file.
        UserError: if the file is empty or no text.
    """
    text = _text(path)
    lines = text.splitlines()
    start, mark = _start(lines)
    table = _fields(path, lines, start, mark)
    names = [name.strip(" #") for name in next(table, (0, [""]))[1]]
    rows, numbers, faults = [], [], {}
    for number, fields in table:
        if len(fields) != len(names):
            faults[number] = f"line {number} has {len(fields)} fields and the header {len(names)}"
        else:
            rows.append(fields)
            numbers.append(number)
    below = _below_header(names, rows)
    units = [field.strip(" ()") for field in rows[below - 1]] if below else []
    return Table(path, names, rows[below:], numbers[below:], units, mark != ",", faults)


def _text(path: Path) -> str:
    """Returns the text of a file that holds more than blanks."""
    if not path.exists():
        raise MissingFile(f"{path}: there is no such file of points; check the path")
    if not path.is_file():  # reading a pipe would never end
        raise UserError(f"{path}: this is a {'folder' if path.is_dir() else 'device'}; give a file of points")
    with reading(path):
        with path.open("rb") as file:
            start = file.read(64)
        _check_kind(path, start)
        encoding = "utf-16" if start[:2] in _WIDE else "utf-8-sig"
        # Labels of ImageJ may hold letters in another encoding; numbers are the same in all encodings.
        text = read_text(path, encoding=encoding, errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: this is not a text file in UTF-8; save the points as a CSV file in UTF-8")
    if not text.strip():
        raise UserError(
            f"{path}: the file is empty; save the points again, with a header even if there is no cell"
        )
    return text


def _check_kind(path: Path, start: bytes) -> None:
    """Raises UserError for a file that is not a table of text, with what to do; `start` are its first bytes."""
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    kind = next((kind for begin, kind in _KINDS.items() if text.startswith(begin)), None)
    if start.startswith(b"PK"):
        with suppress(Exception), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            excel = any(name.startswith("xl/") for name in names)
            kind = _EXCEL if excel else _CALC if "mimetype" in names else kind
    if kind is not None:
        raise UserError(f"{path}: this is {kind}")


def _start(lines: list[str]) -> tuple[int, str]:
    """Returns the index of the header, and what separates its fields."""
    start = next(index for index, line in enumerate(lines) if line.strip())
    given = re.fullmatch(r"\"?sep=(.)\"?", lines[start].strip("\r\n "), flags=re.IGNORECASE)
    if given and any(line.strip() for line in lines[start + 1 :]):
        return start + 1, given[1]
    if lines[start].strip().lower() == "sep=" and "\t" in lines[start]:  # the mark was a tab
        return start + 1, "\t"
    return start, next((mark for mark in "\t;" if mark in lines[start]), ",")


def _fields(path: Path, lines: list[str], start: int, mark: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the number, counted from 1, and the fields of each line that says something."""
    reader = csv.reader(lines[start:], delimiter=mark)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield reader.line_num + start, fields
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num + start} is not a table ({error}); correct it") from error


def _below_header(names: list[str], rows: list[list[str]]) -> int:
    """Returns how many of the first rows are not points: three in a table of TrackMate."""
    if "POSITION_X" not in names or len(rows) < 3:
        return 0
    column = names.index("POSITION_X")
    return 3 if rows[2][column].strip().startswith("(") else 0
