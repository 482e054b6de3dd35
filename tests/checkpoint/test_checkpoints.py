"""Checkpoints while training goes on: against those that training waited for, and against failures of every kind.

Written in the background, the folder has the same bytes as written in the foreground, whatever is trained meanwhile; it
is there when the files of all ranks are, not before; what one rank cannot write is an error on all, and leaves the
checkpoints before it as they were.
"""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from mpi4py import MPI
from saved_models import RUN, files_of, manifest_of
from small_training import reads, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.checkpoint import background, save
from deshpc.checkpoint.checkpoints import Checkpoints
from deshpc.checkpoint.folders import model_folder, remove_leftovers, step_folder, step_folders
from deshpc.checkpoint.load import verify
from deshpc.checkpoint.save import save_model
from deshpc.errors import DataError
from deshpc.storage import container
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

OPTIONS = small_config("fm", "adam", 0.02)


def train(model, first, last):
    for batch in awkward_batches(41, last)[first:]:
        step(model, reads(model, batch))


def files_then(world, folder):
    """The content of the folder's files on every rank, read when all ranks are here."""
    world.Barrier()
    return world.bcast(files_of(folder) if world.rank == 0 else None)


def test_background_equals_foreground(world, directory):
    with small_model(world, OPTIONS) as model:
        waiting = Checkpoints(model, directory / "foreground", 3, background=False)
        going_on = Checkpoints(model, directory / "background", 3, background=True)
        for steps in (2, 4, 7):
            train(model, steps - 2, steps)
            manifest = manifest_of(model, OPTIONS, steps)
            waiting.write(manifest)
            going_on.write(manifest)
            going_on.check()
        train(model, 7, 9)
        going_on.finish()
        going_on.finish()  # nothing is left to wait for
    found, expected = files_then(world, directory / "background"), files_then(world, directory / "foreground")
    assert found == expected and len(expected) == 3 * (2 + world.size)
    assert [steps for steps, _ in step_folders(directory / "background")] == [7, 4, 2]


def test_a_checkpoint_counts_when_the_files_of_all_ranks_are_there(world, directory, monkeypatch):
    """The last rank's thread waits until everybody has looked."""
    looked, write_share = threading.Event(), background.write_share
    if world.rank == world.size - 1:
        monkeypatch.setattr(background, "write_share", lambda *arguments: looked.wait() and write_share(*arguments))
    with small_model(world, OPTIONS) as model:
        train(model, 0, 3)
        checkpoints = Checkpoints(model, directory, 3, background=True)
        checkpoints.write(manifest_of(model, OPTIONS, 3))
        checkpoints.check()
        train(model, 3, 5)
        assert step_folders(directory) == []
        world.Barrier()
        looked.set()
        checkpoints.finish()
    world.Barrier()
    assert [steps for steps, _ in step_folders(directory)] == [3]
    assert verify(step_folder(directory, 3))["steps"] == 3


@pytest.mark.parametrize("in_background", [True, False])
@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_are_kept(world, directory, keep, in_background):
    with small_model(world, OPTIONS) as model:
        checkpoints = Checkpoints(model, directory, keep, in_background)
        for steps in range(1, 5):
            checkpoints.write(manifest_of(model, OPTIONS, steps))
        checkpoints.finish()
        world.Barrier()
        assert [steps for steps, _ in step_folders(directory)] == [4, 3][:keep]
        checkpoints.write(manifest_of(model, OPTIONS, 2))  # the run has gone back: what is newer is not its business
        checkpoints.finish()
    world.Barrier()
    assert [steps for steps, _ in step_folders(directory)] == [*[4, 3][:keep], 2]
    assert len(list((directory / "checkpoints").iterdir())) == keep + 1


class FullDisk:
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)


@pytest.mark.parametrize("in_background", [True, False])
def test_a_full_disk_is_an_error_on_every_rank(world, directory, monkeypatch, in_background):
    """On the last rank alone; the checkpoint before stays."""
    last = world.size - 1
    with small_model(world, OPTIONS) as model:
        train(model, 0, 3)
        checkpoints = Checkpoints(model, directory, 1, in_background)
        checkpoints.write(manifest_of(model, OPTIONS, 3))
        checkpoints.finish()
        before = files_then(world, step_folder(directory, 3))
        if world.rank == last:
            monkeypatch.setattr(container, "open", lambda *how: FullDisk(open(*how), 1500), raising=False)  # noqa: SIM115
        with pytest.raises(DataError, match=f"rank-{last:05d}-of-.*cannot be written: No space left on device"):
            checkpoints.write(manifest_of(model, OPTIONS, 4))
            train(model, 3, 5)
            checkpoints.finish()
    world.Barrier()
    assert [steps for steps, _ in step_folders(directory)] == [3]
    assert files_then(world, step_folder(directory, 3)) == before
    assert not list(directory.rglob("*.partial"))


def test_a_folder_that_is_removed_meanwhile_is_an_error_on_every_rank(world, directory, monkeypatch):
    removed, write_share = threading.Event(), background.write_share
    monkeypatch.setattr(background, "write_share", lambda *arguments: removed.wait() and write_share(*arguments))
    with small_model(world, OPTIONS) as model:
        checkpoints = Checkpoints(model, directory, 1, background=True)
        checkpoints.write(manifest_of(model, OPTIONS, 1))
        world.Barrier()
        if world.rank == 0:
            (directory / "checkpoints" / f"step-000000000001.{RUN}.partial").rmdir()
        world.Barrier()
        removed.set()
        with pytest.raises(DataError, match="step-000000000001.*.partial/.*cannot be written: No such file"):
            checkpoints.finish()
    world.Barrier()
    assert step_folders(directory) == []


def test_a_folder_that_the_nodes_do_not_share_is_an_error(world, directory, monkeypatch):
    """The last rank writes elsewhere, and rank 0 waits for its file in vain."""
    if world.size == 1:
        return
    monkeypatch.setattr(save, "APPEAR_S", 0.1)
    if world.rank == world.size - 1:
        monkeypatch.setattr(background, "write_share", lambda *arguments: None)
    with small_model(world, OPTIONS) as model:
        checkpoints = Checkpoints(model, directory, 1, background=True)
        checkpoints.write(manifest_of(model, OPTIONS, 1))
        with pytest.raises(DataError, match="run.directory must be in a file system that all nodes share"):
            checkpoints.finish()


def test_any_other_exception_of_the_thread_is_raised_too(world, directory, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(background, "write_share", broken)
    with small_model(world, OPTIONS) as model:
        checkpoints = Checkpoints(model, directory, 1, background=True)
        checkpoints.write(manifest_of(model, OPTIONS, 1))
        with pytest.raises(Exception, match="by nought"):
            checkpoints.finish()


@pytest.mark.parametrize("under", ["model", "model.old"])
def test_a_model_is_there_at_every_moment(world, directory, monkeypatch, under):
    """Whatever the call at which the writer is ended: a complete model has one of the names, and the next writer goes on."""
    if world.rank:  # files alone matter here
        return

    class Ended(Exception):
        pass

    def ending_at(count):
        """The calls that change names, of which number `count` is not made."""
        left = [count]

        def counted(call):
            def wrapper(*arguments, **named):
                left[0] -= 1
                if left[0] == 0:
                    raise Ended
                return call(*arguments, **named)

            return wrapper

        return counted

    with small_model(MPI.COMM_SELF, OPTIONS) as model:
        folder, count, finished = directory / "model", 0, False
        save_model(model, folder, manifest_of(model, OPTIONS, 1))
        while not finished:
            count += 1
            folder.rename(directory / under)
            with monkeypatch.context() as patch:
                counted = ending_at(count)
                for place, name in ((os, "replace"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
                    patch.setattr(place, name, counted(getattr(place, name)))
                try:
                    save_model(model, folder, manifest_of(model, OPTIONS, 1 + count))
                    finished = True
                except Ended:
                    pass
            assert verify(model_folder(directory))["steps"] in (1, 1 + count)
            remove_leftovers(directory)
            assert [path.name for path in directory.iterdir()] == ["model"]
            save_model(model, folder, manifest_of(model, OPTIONS, 1))
        assert count > 6
