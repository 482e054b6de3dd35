"""A lock against what is true of its holder: a process that lives, has ended, has another's number, or is on another machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from deshpc.errors import ConfigError, DeshpcError
from deshpc.storage import lock as module
from deshpc.storage.lock import Lock
from deshpc.storage.owner import Owner

HOLD = """
import sys, time
from deshpc.storage.lock import Lock
with Lock(sys.argv[1], "it"):
    print("held", flush=True)
    time.sleep(100)
"""
RACE = """
import sys
from deshpc.errors import ConfigError
from deshpc.storage.lock import Lock
sys.stdin.readline()
lock = Lock(sys.argv[1], "it")
try:
    lock.take()
except ConfigError:
    print("refused", flush=True)
else:
    lock.require()
    print("held", flush=True)
    sys.stdin.readline()
    lock.require()
    print("held to the end", flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "SILENT_S", 0.3)
    monkeypatch.setattr(module, "_LOOK_S", 0.02)
    monkeypatch.setattr(module, "_WRITTEN_S", 0.1)


def started(source, path):
    return subprocess.Popen(
        [sys.executable, "-c", source, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )


def write(path, **entries):
    """A lock of this process, but for some entries."""
    path.write_text(json.dumps({**Owner.here("other").to_json(), **entries}))


def refusal(path):
    with pytest.raises(ConfigError) as caught, Lock(path, "it"):
        raise AssertionError("was taken")
    return str(caught.value)


def test_it_is_there_while_it_is_held(path):
    with Lock(path, "it") as lock:
        lock.require()
        assert json.loads(path.read_text())["process"] == os.getpid()
        assert f"it is in use by another run (process {os.getpid()} on " in refusal(path)
        lock.require()
    assert not path.exists()
    with pytest.raises(DeshpcError, match="no longer this run's"):
        lock.require()
    with Lock(path, "it"):
        pass


def test_a_process_that_lives_keeps_it_and_a_killed_one_does_not(path):
    process = started(HOLD, path)
    try:
        assert process.stdout.readline() == "held\n"
        text = refusal(path)
        assert f"process {process.pid} on " in text and "since 2" in text and "choose another folder" in text and "\n" not in text
        process.send_signal(signal.SIGSTOP)
        assert f"process {process.pid} on " in refusal(path)
        process.kill()
        while process.poll() is None and "Z" not in (state := status_of(process.pid)):  # ended, and nobody has asked for it yet
            time.sleep(0.01)
            assert state
        with Lock(path, "it") as lock:
            lock.require()
    finally:
        process.kill()
        process.communicate()
    assert not path.exists() and list(path.parent.iterdir()) == []


def status_of(process):
    with open(f"/proc/{process}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_process_of_the_same_number_that_started_at_another_time_is_another(path):
    write(path, start=Owner.here("x").start + 1)
    with Lock(path, "it"):
        pass
    write(path)
    assert "in use" in refusal(path)


ELSEWHERE = [{"machine": "another boot pid:[1]"}, {"machine": "", "start": 0}, {"start": 0}]


@pytest.mark.parametrize("entries", ELSEWHERE)
def test_silence_of_another_machine_is_the_end_of_its_process(path, impatient, entries):
    write(path, host="node7", **entries)
    heard = []
    with Lock(path, "it", heard.append) as lock:
        lock.require()
    said = "".join(heard)
    assert said.count("\n") == 1 and "process" in said and "on node7" in said


@pytest.mark.parametrize("entries", ELSEWHERE)
def test_news_from_another_machine_are_its_life(path, impatient, monkeypatch, entries):
    """Whatever its clock says: here it is in 1970."""
    monkeypatch.setattr(module, "SILENT_S", 30)
    write(path, host="node7", **entries)
    ended = threading.Event()

    def beat():
        second = 0
        while not ended.wait(0.05):
            second += 1
            os.utime(path, (second, second))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert "on node7" in refusal(path)
    finally:
        ended.set()
        thread.join()


def test_its_holder_gives_news(path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with Lock(path, "it"):
        os.utime(path, (5, 5))
        until = time.monotonic() + 60
        while path.stat().st_mtime == 5 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime != 5


def test_who_has_lost_it_learns_of_it_and_leaves_the_others_alone(path, impatient):
    first = Lock(path, "it")
    first.take()
    write(path, machine="another boot pid:[1]", token=json.loads(path.read_text())["token"])  # stopped elsewhere, so to say
    second = Lock(path, "it")
    second.take()
    with pytest.raises(DeshpcError, match="no longer this run's: .*held by process"):
        first.require()
    first.release()
    second.require()
    path.unlink()
    with pytest.raises(DeshpcError, match="is gone"):
        second.require()
    second.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 4000, b"{}", b"\xff", b'{"token": "a"}', b"x" * 100_000, None])
def test_what_is_no_lock_is_watched_and_removed(path, impatient, content):
    if content is None:
        write(path, host="a\nb", process=-1)
    else:
        path.write_bytes(content)
    with Lock(path, "it") as lock:
        lock.require()


def test_what_is_no_file_is_refused(path, tmp_path):
    """A link is not followed, a pipe not waited for."""
    (tmp_path / "target").write_text("kept")
    path.symlink_to(tmp_path / "target")
    assert str(path) in refusal(path) and (tmp_path / "target").read_text() == "kept"
    path.unlink()
    os.mkfifo(path)
    assert "no regular file" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "no regular file" in refusal(path)


@pytest.mark.parametrize("before", ["nothing", "dead", "dead, taken over by a dead one"])
def test_of_many_one_gets_it(path, before):
    """All begin at once; who has it still has it when all have asked."""
    dead = Owner.here("dead").to_json() | {"start": 1}
    if before != "nothing":
        path.write_text(json.dumps(dead))
    if before.endswith("one"):
        path.with_name("lock.takeover").write_text(json.dumps(dead | {"token": "dead, too"}))
    processes = [started(RACE, path) for _ in range(6)]
    try:
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [process.stdout.readline().strip() for process in processes]
        assert sorted(answers) == ["held", *["refused"] * 5]
        winner = processes[answers.index("held")]
        assert winner.communicate("\n")[0] == "held to the end\n"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [one.name for one in path.parent.iterdir()] in ([], ["lock"])  # its holder left without giving it back
