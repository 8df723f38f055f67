"""A null character in a path gets an error that names the option; the system names nothing."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import selfwise
from selfwise.cli import main as cli

MORE = {"probe": {"train": "a", "test": "a"}, "embed": {"data": "a"}}
BAD = "a\0b"
WORDS = "has a null character, which names of files and folders cannot have"


@pytest.mark.parametrize("option", ["data", "out", "init_from", "encoder"])
def test_pretrain_names_the_option(option, tmp_path):
    options = {"data": "digits:train", "out": tmp_path / "run", option: BAD}
    with pytest.raises(ValueError, match=f"^{option} {BAD} {WORDS}$"):
        selfwise.pretrain("simclr", steps=1, quiet=True, **options)


@pytest.mark.parametrize("command", ["resume", "show", "write_report", "embed", "probe"])
def test_commands_on_a_run_name_the_option(command):
    with pytest.raises(ValueError, match=f"^runs? {BAD} {WORDS}$"):
        getattr(selfwise, command)(BAD, **MORE.get(command, {}))


@pytest.mark.parametrize("option", ["data", "out"])
def test_a_config_file_is_refused_in_one_visible_line(tmp_path, capsys, option):
    values = {"data": "digits:train", "out": "run", "steps": "1", option: '"a\\0b"'}
    file = tmp_path / "config.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    assert cli.main(["pretrain", "simclr", "--config", str(file)]) == 2
    assert capsys.readouterr().err == f"selfwise: --{option} a\\x00b {WORDS}\n"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("method", ["simclr", "hubert", "bert"])
def test_a_path_in_a_table_is_refused_in_one_line(tmp_path, capsys, name, method):
    """A table of parquet lists texts, never files; its texts may hold a null character."""
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    table, rows = tmp_path / name, {"path": ["0.png", BAD], "label": ["a", BAD]}
    if name == "a.parquet":
        pq.write_table(pa.table(rows), table)
    else:
        mark = "," if name == "a.csv" else "\t"
        table.write_text("\n".join(map(mark.join, [rows, *zip(*rows.values(), strict=True)])))
    argv = ["pretrain", method, "--data", str(table), "--out", str(tmp_path / "run")]
    assert cli.main([*argv, "--steps", "1"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"selfwise: {table}")
    assert printed.count("\n") == 1
    assert "\0" not in printed
