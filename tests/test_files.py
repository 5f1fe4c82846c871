"""A file is written whole or not at all."""

import json
import os
import stat

import pytest

from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_json
from keras_memvit.files.atomic import write_whole


@pytest.mark.parametrize("content", [b"new", "new"])
def test_what_is_written_takes_the_old_file_s_place(content, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    write_whole(path, content)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_text_is_utf_8_and_json_is_read_back(tmp_path):
    write_whole(tmp_path / "text", "Vögel")
    assert (tmp_path / "text").read_bytes() == "Vögel".encode()
    write_json(tmp_path / "json", {"a": [1, 2.5, None]})
    assert json.loads((tmp_path / "json").read_text()) == {"a": [1, 2.5, None]}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [True, False])
def test_an_error_while_writing_leaves_the_old_file_alone(existed, error, tmp_path):
    path = tmp_path / "file"
    if existed:
        path.write_text("old")
    with pytest.raises(error), open_whole(path) as file:
        file.write(b"half of it")
        assert not existed or path.read_text() == "old"
        raise error
    assert os.listdir(tmp_path) == ["file"] * existed
    assert not existed or path.read_text() == "old"


def test_an_error_of_the_rename_leaves_nothing(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with open_whole(path, "w") as first, open_whole(path, "w") as second:
        first.write("first")
        second.write("second")
    assert path.read_text() == "first"  # which was closed last
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
