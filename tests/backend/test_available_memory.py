"""Memory that is left, by files as a system with limits of jobs has them."""

from deshpc.backend import room

MIB = 2**20


def test_the_limit_of_a_job_counts_wherever_it_stands(tmp_path, monkeypatch):
    """A job's limit is on a cgroup above that of its process; files that are only cached are memory that is left."""
    own = tmp_path / "cgroup" / "slurm" / "job_7" / "step_0" / "task_0"
    own.mkdir(parents=True)
    for folder, limit in ((own, "max"), (own.parents[1], str(5 * MIB))):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{4 * MIB}\n")
        (folder / "memory.stat").write_text(f"anon {3 * MIB}\ninactive_file {MIB // 2}\n")
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/slurm/job_7/step_0/task_0\n")
    monkeypatch.setattr(room, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(room, "_OWN_CGROUP", tmp_path / "own")
    assert room.available_bytes() == 3 * MIB // 2
