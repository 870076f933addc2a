"""Columns of tables: all that is there and a number, in order, and nothing else."""

import numpy as np

from wsis_jax.output.columns import read_columns


def test_columns_are_read_from_whatever_is_there(tmp_path):
    files = [tmp_path / f"{name}.csv" for name in ("a", "missing", "empty", "b")]
    files[0].write_text("label,area,score\n1,10,0.5\n2,,nan\n3,30,inf\n")
    files[2].touch()
    files[3].write_text('area,name,score\r\n7.5,"a, b",0.25\r\n8,"c\nd",many\r\n9\r\n')
    columns = read_columns(iter(files), names=("area", "score", "confidence"))
    assert {name: values.tolist() for name, values in columns.items()} == {
        "area": [10, 30, 7.5, 8, 9],
        "score": [0.5, 0.25],
        "confidence": [],
    }
    assert {values.dtype for values in columns.values()} == {np.dtype(np.float32)}
