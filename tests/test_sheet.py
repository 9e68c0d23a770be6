"""`evaluate --sheet`: a CSV file becomes records at the door, or one sentence that names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorabench.api.file_names import Moment
from lorabench.api.sheet import of_files, read_sheet
from lorabench.errors import UserError


def sheet(folder: Path, text: str | bytes):
    file = folder / "sheet.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_sheet(file)


def test_what_spreadsheets_write_is_read(tmp_path):
    """A byte order mark, semicolons, Windows' line ends, 2.0 where a column has gaps, an empty last column."""
    text = "\ufefffile;Seed;epoch;scale;optimizer;noise;LR;\r\na;1.0;;0.5;adam;0.1;1e-4;\r\n\r\nb;;2;;7;;;\r\n"
    first, second = sheet(tmp_path, text).rows
    assert (first.line, first.moment, first.scale) == (2, Moment(seed=1), 0.5)
    assert first.own == {"optimizer": "adam", "noise": 0.1, "lr": 1e-4}
    assert (second.line, second.moment, second.scale) == (4, Moment(epoch=2), None)
    assert second.own == {"optimizer": "7"}  # a column with words in it is words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,seed\na,1\nb,x\n", "line 3: seed must be a whole number, 0 or more, got 'x'"),
        ("file,epoch\na,1.5\n", "line 2: epoch must be a whole number"),
        ("file,step\na,-1\n", "line 2: step must be a whole number"),
        ("file,seed\na,99999999999999999999\n", "line 2: seed must be a whole number"),
        ("file,scale\na,nan\n", "line 2: scale must be a number, got 'nan'"),
        ("file,scale\na,1e9\n", "line 2: scale is a merge ratio, at most 1000"),
        ('file,scale\na,"0,5"\n', "line 2: scale must be a number, got '0,5'"),
        ("file,lr\na,fast\n", "line 2: lr must be a number"),
        ("file,lr\na,0\n", "line 2: lr must be above 0"),
        ("file,config\na,x\nb,x\na,y\n", "lines 2 and 4: both are of file 'a'"),
        ("file,seed\n,1\n", "line 2: it names no file"),
        ("file,config\na,base\n", "line 2: config 'base' is what tables call something else"),
        ("file,config\na\n", "line 2: it has 1 cells, and the line of names has 2"),
        ("file\na,x\n", "line 2: it has 2 cells, and the line of names has 1"),
        ("name,seed\na,1\n", "line 1: no column is called 'file'"),
        ("file,seed,seed\na,1,2\n", "line 1: two columns are called 'seed'"),
        ("file,score\na,1\n", "line 1: 'score' is a column that tables have already"),
        ("file,\na,1\n", "line 1: column 2 has no name"),
        ('file,config\na,"x\n', "line 2: it is no line of a CSV file"),
        ("file,seed\n", "says nothing of any file"),
        ("", "line 1: no column is called 'file'"),
        (b"\xff\xfef\x00i\x00", "is not UTF-8 text"),
    ],
)
def test_mistakes_are_one_sentence_with_the_line(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        sheet(tmp_path, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_files_are_found_by_any_of_their_names_and_others_are_named(tmp_path):
    names = {"run/a.safetensors": Path("A"), "run/a": Path("A"), "b": Path("B")}
    found = of_files(sheet(tmp_path, "file,scale\n./run/a,0\nrun/a.safetensors,1\nb,\n"), names)
    assert {path: [row.scale for row in rows] for path, rows in found.items()} == {
        Path("A"): [0, 1], Path("B"): [None],
    }  # fmt: skip
    mistakes = {
        "file\nb\nrun/aa\n": "line 3: there is no adapter 'run/aa' in the folder. Did you mean 'run/a'?",
        "file,seed\nrun/a,1\nrun/a.safetensors,1\n": "lines 2 and 3: both are of file",
        "file,seed,scale\nrun/a,1,0\nrun/a.safetensors,2,1\n": "lines 2 and 3: both are of file",
        "file,scale\nb,\nb,1\n": "lines 2 and 3: both are of file",
    }
    for text, words in mistakes.items():
        with pytest.raises(UserError, match=words):
            of_files(sheet(tmp_path, text), names)
