"""A file that one process at a time holds, also where several hosts share the file system.

The file is made by an exclusive creation, which network file systems have, too, and says who holds it (`storage.owner`).  A
holder that is a process of this machine is asked for there.  Any other tells that it lives by giving its file another time every
few seconds: whoever finds the file watches it by a clock of its own, so clocks need not agree.  A file without news is taken
over.  Its holder may have been stopped only: it asks whether it is still the holder (`require`) before it publishes anything.
"""

import json
import os
import secrets
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from deshpc.errors import ConfigError, DeshpcError
from deshpc.storage.owner import ALIVE, DEAD, UNKNOWN, Owner
from deshpc.storage.strict_json import json_text

BEAT_S = 5.0
SILENT_S = 45.0  # without news the holder is dead; network file systems may show a new time some seconds later
_LOOK_S, _WRITTEN_S = 0.5, 2.0
_MOST_BYTES = 4096
_REMEDY = "wait for its end, or choose another folder"


class Lock:
    """The lock `path`, not yet taken.

    what : names in messages what it protects, such as "run.directory = 'runs/latest'"
    say  : function of a text, which is told that somebody waits for it
    A context manager: taken at its begin, given back at its end.
    """

    def __init__(self, path, what, say=lambda text: None):
        self.path, self._what, self._say, self._token = Path(path), what, say, secrets.token_hex(8)
        self._file = self._thread = None
        self._closing = threading.Event()

    def take(self):
        """Take it.  ConfigError where another process has it; OSError where the file cannot be made."""
        begin = time.monotonic()
        while not self._create():
            content = self._read()
            if content is None:  # given back meanwhile
                continue
            owner = _owner_of(content)
            if owner is None and time.monotonic() - begin < _WRITTEN_S:  # it may be about to be written
                time.sleep(_LOOK_S / 10)
                continue
            state = owner.state() if owner else UNKNOWN
            if state == ALIVE or (state == UNKNOWN and self._gives_news(content, owner)):
                raise ConfigError(f"{self._what} is in use by another run ({owner or 'unknown'}): {_REMEDY}")
            if not self._remove(content):
                if time.monotonic() - begin > 3 * SILENT_S:
                    raise ConfigError(f"{self._what}: {self.path} is being taken over by another run, which does not end: {_REMEDY}")
                time.sleep(_LOOK_S / 10)
        self._thread = threading.Thread(target=self._beat, name="deshpc-lock", daemon=True)
        self._thread.start()

    def require(self):
        """DeshpcError unless this process holds the lock."""
        content = self._read() if self._file is not None else None
        owner = _owner_of(content) if content else None
        if owner is None or owner.token != self._token:
            raise DeshpcError(
                f"{self._what} is no longer this run's: {self.path} is {'gone' if owner is None else f'held by {owner}'}; "
                f"this run gave no news for {SILENT_S:.0f} s, or somebody has removed the file"
            )

    def release(self):
        """Give it back, if this process still has it."""
        if self._file is None:
            return
        self._closing.set()
        self._thread.join()
        with suppress(OSError, DeshpcError):
            self.require()
            self.path.unlink()
        os.close(self._file)
        self._file = None

    def __enter__(self):
        self.take()
        return self

    def __exit__(self, *exception):
        self.release()

    def _create(self):
        """Make the file, with this process as its holder; False where it is there."""
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(file, json_text(Owner.here(self._token).to_json()).encode())
            os.fsync(file)
        except OSError:
            os.close(file)
            self.path.unlink()
            raise
        self._file = file
        return True

    def _read(self):
        """(bytes, time of the last news) of the file; None where there is none.  Waits for nobody and follows no link."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # opening asks a network's file system anew
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}; expected the lock of a run") from None
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{self.path}: is no regular file; expected the lock of a run")
            return os.read(file, _MOST_BYTES), status.st_mtime_ns
        finally:
            os.close(file)

    def _gives_news(self, content, owner):
        """Watch a file whose holder cannot be asked for: whether it changes, or goes, within SILENT_S."""
        self._say(
            f"deshpc: {self._what} is held by {owner or 'somebody unknown'}, which cannot be asked from here: "
            f"waiting up to {SILENT_S:.0f} s for news of it\n"
        )
        until = time.monotonic() + SILENT_S
        while time.monotonic() < until:
            time.sleep(_LOOK_S)
            now = self._read()
            if now is None:
                return False
            if now != content:
                return True
        return False

    def _remove(self, content):
        """Remove the file of a dead holder; False where another process does.

        One at a time: otherwise a second one might remove what the first has made since.
        """
        try:
            with Lock(f"{self.path}.takeover", self._what):
                if self._read() == content:
                    self.path.unlink()
            return True
        except ConfigError:  # another one does
            return False

    def _beat(self):
        while not self._closing.wait(BEAT_S):
            with suppress(OSError):  # the file is gone: `require` will say so
                os.utime(self._file)


def holder(path):
    """The Owner of the lock `path`, None where nobody has it: a process of this machine that is gone, or one of another without news."""
    content = Lock(path, str(path))._read()
    owner = _owner_of(content) if content else None
    if owner is None or owner.state() == DEAD:
        return None
    silent = time.time() - content[1] / 1e9  # by this machine's clock
    return owner if owner.state() == ALIVE or silent < 2 * SILENT_S else None


def _owner_of(content):
    """The Owner that a lock's content names, None where it names none."""
    try:
        return Owner.from_json(json.loads(content[0]))
    except (ValueError, RecursionError):
        return None
