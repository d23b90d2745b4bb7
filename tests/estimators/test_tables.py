"""Tables from files: what separates cells, how much is read, and where a row is."""

import bz2
import gzip
import lzma
import os
import zipfile

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax import _files
from mamlax.estimators import _delimited, _tables
from mamlax.estimators._table_summary import summary
from mamlax.estimators._tables import read_table

TEXT = "code,x\n0012,1.50\nNA,\n"


def cells(path):
    return read_table(path).columns.to_pydict()


def test_cells_of_text_are_as_they_are_written(tmp_path):
    (tmp_path / "table.csv").write_text(TEXT)
    assert cells(tmp_path / "table.csv") == {"code": ["0012", "NA"], "x": ["1.50", ""]}


@pytest.mark.parametrize("suffix, packed", [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_packed_text_is_read(suffix, packed, tmp_path):
    path = tmp_path / f"table.csv.{suffix}"
    with packed.open(path, "wt") as file:
        file.write(TEXT)
    assert cells(path)["code"] == ["0012", "NA"]


def test_a_zip_of_one_table_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "table.csv.zip", "w") as archive:
        archive.writestr("table.csv", TEXT)
    assert cells(tmp_path / "table.csv.zip")["code"] == ["0012", "NA"]
    with zipfile.ZipFile(tmp_path / "table.csv.zip", "a") as archive:
        archive.writestr("other.csv", TEXT)
    with pytest.raises(mamlax.MamlaxError, match="holds 2 files"):
        read_table(tmp_path / "table.csv.zip")


@pytest.mark.parametrize(
    "separator, text", [(";", "a;b, c;d\n1,5;2;3\n"), ("\t", "a\tb\n1,5\t2\n")]
)
def test_what_separates_is_seen(separator, text, tmp_path):
    (tmp_path / "table.csv").write_text(text)
    table = read_table(tmp_path / "table.csv")
    assert table.separator == separator and table.columns["a"].to_pylist() == ["1,5"]


@pytest.mark.parametrize(
    "text, columns, others",
    [
        # units in the header, decimal commas below: more cells, were they cut by commas
        ("t, C;b, m\n0,5;0,2\n", ["t, C", "b, m"], (",",)),
        ("a,m;b,m;c,m\n0,5;0,25;1,5\n", ["a,m", "b,m", "c,m"], (",",)),
        ("n,a;b;c\n1,x;y;z\n2,u;v;w\n", ["n", "a;b;c"], (";",)),
        ('n,"x;y;z"\n1,"1;2;3"\n', ["n", "x;y;z"], (";",)),
        ("a, k\tb, x\n1, 2\tfoo, bar\n", ["a, k", "b, x"], (",",)),
        ("n;x\n1,5;2,5\n", ["n", "x"], ()),
    ],
)
def test_of_two_separators_that_fit_the_one_is_taken_that_leaves_numbers(
    text, columns, others, tmp_path
):
    (tmp_path / "table.csv").write_text(text)
    table = read_table(tmp_path / "table.csv")
    assert (table.names, table.other_separators) == (columns, others)


def test_a_separator_that_would_fit_as_well_is_said(tmp_path):
    (tmp_path / "table.csv").write_text("a,m;b,m\n0,5;0,25\n")
    said = summary(read_table(tmp_path / "table.csv"), [], [], [], [])
    assert said.endswith("1 rows, 2 columns separated by semicolons (commas would fit, too).")


def test_a_byte_order_mark_and_lines_of_windows_are_no_content(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert cells(tmp_path / "table.csv") == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"a,b\n1,2\n\n3\n", "line 4 of .* has 1 cell, but the header 2, separated by commas"),
        (b'a,b\n"1\n1",2\n3,4,5\n', "line 4 of .* has 3 cells, but the header 2"),
        (b"a,b\0\n1,2\n", "holds NUL bytes"),
        (b"a,b\n1,2\0\n", "holds NUL bytes"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text"),
        ("ä,b\n1,2\n".encode("latin1"), "is not UTF-8 text"),
        ("a,b\nä,2\n".encode("latin1"), "is not UTF-8 text"),
        (b"a,b,a\n1,2,3\n", "two columns of .* are called 'a'"),
        (b"a,b\x1b[2J\n1,2\n", r"column 2 is called 'b\\x1b\[2J'.*cannot be shown"),
    ],
    ids=str,
)
def test_what_is_damaged_is_refused(content, words, tmp_path):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(mamlax.MamlaxError, match=words):
        read_table(tmp_path / "table.csv")


def test_a_quote_that_is_not_closed_is_found_by_its_line(tmp_path):
    (tmp_path / "table.csv").write_text('a,b\n1,2\n3,"4\n' + "5,6\n" * 40_000)
    words = "begins in line 3 of .* has more than 131,072 characters.*quote that is not closed"
    with pytest.raises(mamlax.MamlaxError, match=words):
        read_table(tmp_path / "table.csv")


def test_a_row_is_found_by_its_line_past_empty_lines_and_breaks_in_cells(tmp_path):
    (tmp_path / "table.csv").write_text('a,b\n\n"1\n1",2\n\n3,4\n')
    table = read_table(tmp_path / "table.csv")
    assert [table.place_of(row).split(" of")[0] for row in (0, 1)] == ["line 3", "line 6"]
    assert table.where(np.array([False, True])).place_of(0).startswith("line 6")


def test_little_that_becomes_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "_MOST_UNPACKED", 1 << 20)
    with gzip.open(tmp_path / "table.csv.gz", "wb") as file:
        file.write(b"a,b\n" + b"1,2\n" * 1_000_000)
    with pytest.raises(mamlax.MamlaxError, match="made to fill the memory"):
        read_table(tmp_path / "table.csv.gz")


def test_text_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_delimited, "_MOST_BYTES", 100)
    (tmp_path / "table.csv").write_text("a,b\n" + "1,2\n" * 100)
    with pytest.raises(mamlax.MamlaxError, match=r"too much for a table\. Write it as parquet"):
        read_table(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["table.parquet", "table.feather"])
def test_typed_tables_are_read_up_to_a_limit_without_the_index_of_pandas(
    name, tmp_path, monkeypatch
):
    table = pd.DataFrame({"code": ["0012", "7"], "x": [1.5, None]}, index=[5, 3])
    write = table.to_parquet if name == "table.parquet" else table.reset_index(drop=True).to_feather
    write(tmp_path / name)
    assert cells(tmp_path / name) == {"code": ["0012", "7"], "x": [1.5, None]}
    monkeypatch.setattr(_tables, "_MOST_VALUES", 3)
    with pytest.raises(mamlax.MamlaxError, match="more than 3 values"):
        read_table(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(mamlax.MamlaxError, match="no ordinary file"):
        read_table(tmp_path / "table.csv")
