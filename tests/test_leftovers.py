"""What killed writers leave is deleted by the next one, and nothing else is."""

import os
import subprocess
import sys
import threading

import pytest

from keras_memvit.files import exchange
from keras_memvit.files import locks
from keras_memvit.files.atomic import open_whole
from keras_memvit.files.atomic import write_whole
from keras_memvit.files.exchange import put_folder
from keras_memvit.files.exchange import restore_folder
from keras_memvit.files.leftovers import scratch_folder
from keras_memvit.files.leftovers import temporary_name

# Writes half a file and makes a scratch folder, says so and waits to be killed.
WRITER = """
import sys
from keras_memvit.files.atomic import open_whole
from keras_memvit.files.leftovers import scratch_folder

with scratch_folder(sys.argv[1]) as scratch, open_whole(sys.argv[1] + "/a") as file:
    (scratch / "inside").write_bytes(b"half")
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start_writer(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_killed_writer_s_leftovers_go_with_the_next_write(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    process = start_writer(tmp_path)
    write_whole(tmp_path / "b", b"")  # its writer lives: they stay
    assert len(os.listdir(tmp_path)) == 4
    process.kill()
    process.communicate()
    assert len(os.listdir(tmp_path)) == 4
    write_whole(tmp_path / "b", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_where_nothing_can_be_locked_a_day_must_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    young, old = temporary_name(tmp_path), temporary_name(tmp_path)
    young.write_bytes(b"")
    old.mkdir()
    os.utime(old, (1e9, 1e9))
    with scratch_folder(tmp_path) as scratch:
        assert scratch.is_dir() and young.exists() and not old.exists()
    assert os.listdir(tmp_path) == [young.name]


def test_other_names_stay(tmp_path):
    names = [".keras_memvit-x.partial", ".a.0123456789abcdef0123456789abcdef", ".git"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    write_whole(tmp_path / "b", b"")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "b"])


def test_many_writers_and_sweepers_do_not_meet(tmp_path):
    def write(i):
        for _ in range(50):
            with open_whole(tmp_path / f"{i}") as file:
                file.write(b"%d" % i)
            with scratch_folder(tmp_path) as scratch:
                (scratch / "x").write_bytes(b"")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    failed = []
    hook, threading.excepthook = threading.excepthook, failed.append
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = hook
    assert not failed
    assert sorted(os.listdir(tmp_path)) == [str(i) for i in range(6)]


def make(folder, content):
    folder.mkdir()
    (folder / "x").write_text(content)
    return folder


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_folder_takes_another_s_place(in_one_step, tmp_path, monkeypatch):
    if not in_one_step:
        monkeypatch.setattr(exchange, "exchange", lambda a, b: False)
    new, old = make(tmp_path / "new", "new"), make(tmp_path / "old", "old")
    put_folder(new, old)
    assert (old / "x").read_text() == "new"
    assert (new / "x").read_text() == "old"
    put_folder(new, tmp_path / "third")
    assert (tmp_path / "third" / "x").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["old", "third"]


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_folder_that_cannot_be_replaced_is_as_it_was(
    in_one_step, tmp_path, monkeypatch
):
    if not in_one_step:
        monkeypatch.setattr(exchange, "exchange", lambda a, b: False)
    old = make(tmp_path / "old", "old")
    with pytest.raises(OSError):
        put_folder(tmp_path / "missing", old)
    assert (old / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["old"]


def test_a_folder_killed_between_two_names_is_put_back(tmp_path):
    aside = make(tmp_path / ".1.replaced", "old")
    restore_folder(tmp_path / "1")
    assert (tmp_path / "1" / "x").read_text() == "old"
    make(aside, "older")
    restore_folder(tmp_path / "1")
    assert os.listdir(tmp_path) == ["1"]
    assert (tmp_path / "1" / "x").read_text() == "old"
