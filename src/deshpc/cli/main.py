"""Parse the command line and hand over.  Nothing heavy is imported before a command needs it.

Exit codes: 0 success; 1 a failure while running; 2 bad command line or configuration; 3 bad data; 4 a launch that
does not fit; 75 a run that was stopped behind a checkpoint and can go on; 130 interrupted; 143 terminated.
"""

import argparse
import shlex
import sys

import deshpc
from deshpc.errors import ConfigError, DeshpcError, Stopped
from deshpc.launch import start
from deshpc.launch.console import hold_descriptors, put_out, say
from deshpc.launch.failure import Terminated, signals_raise, this_process
from deshpc.launch.launcher import launcher
from deshpc.launch.mpich import under_a_parent

_READ_WITHIN_S = 10.0  # a result of several ranks, which would wait for ever for a reader


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message, file=None):
        _print(message.rstrip("\n"))

    def error(self, message):
        raise ConfigError(f"{message}\n{self.format_usage().rstrip()}")


def main(argv=None):
    """Run one command; returns the exit code."""
    hold_descriptors()
    try:
        with signals_raise():
            given = sys.argv[1:] if argv is None else argv
            options = parser().parse_args(given, argparse.Namespace(given=given))
            return options.command(options)
    except (Exception, KeyboardInterrupt, Terminated) as error:  # before MPI runs; then, start.run has the last word
        return start.leave(error)


def parser():
    """The parser of the command line.  What a command does is its `command`, a function of the options."""
    whole = _Parser(
        prog="deshpc",
        description="Train click-through-rate models on sharded hash tables.  For N ranks: mpiexec -n N deshpc ...",
    )
    whole.add_argument("--version", action="version", version=f"deshpc {deshpc.__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="look at files of rows, and write a configuration that trains on them")
    init.add_argument("files", nargs="+", metavar="FILE", help="CSV, TSV, Parquet, Criteo, libsvm or libffm; paths, patterns or folders")
    init.add_argument("--out", default="click.toml", metavar="CONFIG.toml", help="the new configuration; click.toml where it is left out")
    init.add_argument("--label", metavar="COLUMN", help="the label's column, where its name or values do not tell")
    init.set_defaults(command=_init)

    train = commands.add_parser("train", help="train a model by a TOML configuration")
    train.add_argument("config", metavar="CONFIG.toml", help="the configuration")
    train.add_argument(
        "--check-bytes", action="store_true", help="fail if the bytes sent differ from the formula; the model is saved first"
    )
    train.add_argument("--check-plan", action="store_true", help="fail if the bytes sent differ from what was planned; the model is saved first")
    train.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in run.directory, if there is one"
    )
    train.add_argument(
        "--overwrite", action="store_true", help="replace the model and the checkpoints of a run that has ended in run.directory"
    )
    train.add_argument(
        "--days", action="append", metavar="PATTERN", help="files or folders, one a day, that are learnt one after the other, such as 'data/2026-*'; "
        "each is scored first; may be repeated",
    )  # fmt: skip
    _add_options(train)
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("eval", help="metrics of a trained model")
    evaluate.add_argument("directory", metavar="RUN", help="the run's directory")
    evaluate.add_argument("--part", choices=("test", "valid", "train"), default="test", help="part of the data")
    evaluate.add_argument("--data", action="append", metavar="FILE", help="rows to evaluate on instead of a part; may be repeated")
    _add_options(evaluate)
    evaluate.set_defaults(command=_evaluate)

    predict = commands.add_parser("predict", help="scores of rows, in their order")
    predict.add_argument("directory", metavar="RUN", help="the run's directory")
    predict.add_argument("--out", required=True, metavar="FILE", help="scores.csv, scores.csv.gz or scores.parquet")
    predict.add_argument("--part", choices=("test", "valid", "train"), default="test", help="part of the data")
    predict.add_argument("--data", action="append", metavar="FILE", help="rows to score instead of a part; may be repeated")
    predict.add_argument("--no-label", action="store_true", help="the rows have no label")
    predict.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN,...", help="columns of the rows to carry along, fields or not; may be repeated"
    )
    _add_options(predict)
    predict.set_defaults(command=_predict)

    export = commands.add_parser("export", help="write a model that deshpc.Predictor loads with NumPy alone")
    export.add_argument("directory", metavar="RUN", help="the run's directory, or one of its checkpoints")
    export.add_argument("--out", required=True, metavar="FILE", help="the exported model, or the delta")
    export.add_argument(
        "--delta-from", nargs="+", default=[], metavar="FILE", help="an exported model, and deltas of it: write what has changed since, a delta"
    )
    export.add_argument("--onnx", metavar="FILE.onnx", help="also write what follows the pooled rows as ONNX")
    _add_allow_import(export)
    export.set_defaults(command=_export)

    fold = commands.add_parser("fold", help="put deltas over an exported model: the whole export of the last one, bit for bit")
    fold.add_argument("model", metavar="MODEL", help="an exported model")
    fold.add_argument("deltas", nargs="+", metavar="DELTA", help="deltas of it, in their order")
    fold.add_argument("--out", required=True, metavar="FILE", help="the exported model")
    fold.set_defaults(command=_fold)

    report = commands.add_parser("report", help="curves, results, bytes and warnings of runs, side by side, as one HTML file")
    report.add_argument("directories", nargs="+", metavar="RUN", help="a run's directory; several are compared")
    report.add_argument("--out", default="report.html", metavar="FILE.html", help="report.html by default")
    report.set_defaults(command=_report)

    runs = commands.add_parser("runs", help="the runs in a folder: state, step, AUC, samples/s, last sign of life")
    runs.add_argument("directory", nargs="?", default="runs", metavar="FOLDER", help="of runs, or a run's directory; runs by default")
    runs.add_argument("--json", action="store_true", help="as JSON")
    runs.set_defaults(command=_runs)

    inspect = commands.add_parser("inspect", help="print and verify a checkpoint, a saved or exported model, or a cache")
    inspect.add_argument("path", metavar="PATH", help="a run's directory, a checkpoint, a model or a cache")
    inspect.set_defaults(command=_inspect)

    convert = commands.add_parser("convert", help="write text or Parquet as binary caches, which training maps into memory")
    convert.add_argument("config", metavar="CONFIG.toml", help="the configuration, whose [data] is read")
    convert.add_argument("--out", required=True, metavar="FOLDER", help="gets a cache of each part")
    _add_options(convert)
    convert.set_defaults(command=_convert)

    profile = commands.add_parser("profile", help="rows, fields, keys per sample, distinct keys per batch, skew of the data")
    profile.add_argument("target", metavar="CONFIG.toml|CACHE", help="what to read")
    profile.add_argument("--part", choices=("train", "valid", "test"), default="train", help="part of the data")
    profile.add_argument("--json", action="store_true", help="as JSON")
    _add_options(profile)
    profile.set_defaults(command=_profile)

    plan = commands.add_parser("plan", help="how to split a model over ranks: bytes, seconds and memory by every valid way")
    plan.add_argument("config", nargs="?", metavar="CONFIG.toml", help="whose model and data are planned for")
    plan.add_argument("--ranks", type=int, default=4, metavar="N", help="4 by default")
    plan.add_argument("--nodes", type=int, default=1, metavar="M", help="that they are on, in blocks; 1 by default")
    plan.add_argument("--machine", metavar="FILE", help="what deshpc probe has measured; without it bytes decide, not seconds")
    plan.add_argument("--profile", metavar="FILE", help="what deshpc profile --json has printed, instead of a look at the training part")
    plan.add_argument("--paper", action="store_true", help="what substitution saves in theory, for all models, three kinds of data, 2 to 64 ranks")
    plan.add_argument("--json", action="store_true", help="as JSON, all of it")
    _add_options(plan)
    plan.set_defaults(command=_plan)

    submit = commands.add_parser("submit", help="write a Slurm job script for a configuration, from the plan's numbers, and submit it")
    submit.add_argument("config", metavar="CONFIG.toml", help="the configuration")
    submit.add_argument("--nodes", default="1", metavar="M", help="or a range such as 2-4: a job that loses a node goes on with fewer; 1 by default")
    submit.add_argument("--time", default="24:00", metavar="HOURS:MINUTES", help="of one start of the job, which goes on when it is over; or D-HH:MM:SS; 24:00 by default")
    submit.add_argument("--ranks-per-node", type=int, metavar="R", help="those of the best plan of 1, 2 and 4 by default")
    submit.add_argument("--cores", type=int, metavar="C", help="of a node; those that Slurm says the partition has by default")
    submit.add_argument("--memory", metavar="GIB", type=float, help="of a node; what the plan needs, and half as much, by default")
    submit.add_argument("--partition", metavar="NAME", help="Slurm's default one where it is left out")
    submit.add_argument("--account", metavar="NAME", help="if your site wants one")
    submit.add_argument("--machine", metavar="FILE", help="what deshpc probe has measured, for plans of seconds")
    submit.add_argument("--profile", metavar="FILE", help="what deshpc profile --json has printed, instead of a look at the training part")
    submit.add_argument("--mpi", choices=("mpich", "openmpi", "site"), help="how srun starts ranks; by the MPI library that is here by default")
    submit.add_argument("--launcher", choices=("srun", "mpiexec"), default="srun", help="what starts the ranks; mpiexec asks Slurm for the nodes")
    submit.add_argument("--out", metavar="FILE.sbatch", help="where the script is kept; runs/NAME.sbatch by default")
    submit.add_argument("--dry-run", action="store_true", help="print the script, write and submit nothing")
    _add_options(submit)
    submit.set_defaults(command=_submit)

    probe = commands.add_parser("probe", help="measure this machine, with the ranks that are here, for deshpc plan --machine")
    probe.add_argument("--out", required=True, metavar="FILE.json", help="gets what was measured, with date, ranks and nodes")
    probe.add_argument("--name", metavar="NAME", help="of the machine; its first host's by default")
    probe.add_argument("--threads", type=int, metavar="N", help="of a rank: compute.threads_per_rank of the runs to plan; as many as they would have by default")
    probe.set_defaults(command=_probe)

    info = commands.add_parser("info", help="versions and machine; a configuration, resolved; a run's model")
    info.add_argument("target", nargs="?", metavar="CONFIG.toml|RUN", help="a configuration, or a run's directory; nothing: the installation")
    info.add_argument("--options", action="store_true", help="list every option with its default and meaning")
    _add_options(info)
    info.set_defaults(command=_info)

    doctor = commands.add_parser("doctor", help="launch, machine, speed of messages, known traps and their remedies")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(command=_doctor)

    completion = commands.add_parser("completion", help="print a script by which a shell completes commands, options, files and values")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh", "fish"), metavar="SHELL", help="bash, zsh, tcsh or fish")
    completion.set_defaults(command=_completion)
    return whole


def _add_options(parser):
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides",
        help="override an option; may be repeated",
    )  # fmt: skip
    _add_allow_import(parser)


def _add_allow_import(parser):
    parser.add_argument(
        "--allow-import", action="append", default=[], metavar="PACKAGE.MODULE:CLASS",
        help="a definition of your own that model.name may name; no other is imported; may be repeated",
    )  # fmt: skip


def _init(options):
    from deshpc.cli.init import init

    _print(init(options.files, options.out, options.label))
    return 0


def _train(options):
    from deshpc.config import load

    under_a_parent()
    if options.days:
        return _train_days(options)
    if launcher().ranks == 1:
        load(options.config, options.overrides, options.allow_import)  # a mistake needs no engine to be found; several ranks agree on it
    from deshpc.cli.tables import training_table
    from deshpc.training.api import train

    return start.run(
        lambda comm: _show_if_possible(
            comm, training_table,
            _that_can_go_on(options, train, options.config, comm, options.overrides, options.check_bytes, options.resume, options.allow_import,
                            options.overwrite, check_plan=options.check_plan),
        ),
        start.world(),
    )


def _train_days(options):
    from deshpc.cli.tables import days_table
    from deshpc.daily.chain import train_days

    return start.run(
        lambda comm: _show_if_possible(
            comm, days_table,
            _that_can_go_on(options, train_days, options.config, options.days, comm, options.overrides, options.check_bytes, options.resume,
                            options.allow_import, options.overwrite, check_plan=options.check_plan),
        ),
        start.world(),
    )


def _that_can_go_on(options, train, *arguments, **named):
    """train(...); where it is stopped, the error says by which command it goes on."""
    try:
        return train(*arguments, **named)
    except Stopped as stopped:
        raise stopped.of(command=_command_to_go_on(options.given, stopped.directory, launcher())) from None


def _command_to_go_on(given, directory, found):
    """The command line `given`, as one that goes on with the run in a folder."""
    words = [word for word in given if word not in ("--overwrite", "--resume")]
    if not any(word.partition("=")[0] == "run.directory" for word in words):
        words += ["--set", f"run.directory={directory}"]
    name = "srun" if found.name.startswith("srun") else "mpiexec"
    started = [*([name, "-n", str(found.ranks)] if found.ranks > 1 else []), "deshpc", *words, "--resume"]
    return shlex.join(started)


def _evaluate(options):
    under_a_parent()
    from deshpc.cli.tables import metrics_table
    from deshpc.training.api import evaluate

    return start.run(
        lambda comm: _show(
            comm, metrics_table, evaluate(options.directory, comm, options.overrides, options.part, options.allow_import, options.data)
        ),
        start.world(),
    )


def _predict(options):
    under_a_parent()
    from deshpc.training.predict import predict

    return start.run(
        lambda comm: predict(
            options.directory, options.out, comm, options.overrides, options.part, options.data, not options.no_label,
            options.allow_import, [name for names in options.keep for name in names.split(",") if name],
        ),
        start.world(),
    )


def _export(options):
    from deshpc.serve.export import export

    with this_process():
        text = export(options.directory, options.out, options.onnx, options.allow_import, options.delta_from)
    _print(text)
    return 0


def _fold(options):
    from deshpc.serve.delta import fold

    with this_process():
        text = fold(options.model, options.deltas, options.out)
    _print(text)
    return 0


def _report(options):
    from deshpc.report.write import report

    _print(report(options.directories, options.out))
    return 0


def _runs(options):
    from deshpc.cli.runs import runs

    _print(runs(options.directory, options.json))
    return 0


def _submit(options):
    from deshpc.cli.submit import submit

    _print(submit(options))
    return 0


def _inspect(options):
    from deshpc.cli.inspect import inspect

    _print(inspect(options.path))
    return 0


def _convert(options):
    from deshpc.cli.convert import convert

    with this_process():
        text = convert(options.config, options.out, options.overrides, options.allow_import)
    _print(text)
    return 0


def _profile(options):
    from deshpc.cli.profile import profile

    with this_process():
        text = profile(options.target, options.part, options.overrides, options.json, options.allow_import)
    _print(text)
    return 0


def _plan(options):
    from deshpc.cli.plan import paper, plan

    if options.paper:
        _print(paper(options.json))
        return 0
    if options.config is None:
        raise ConfigError("deshpc plan needs a configuration: deshpc plan CONFIG.toml --ranks 8 --nodes 2; or --paper")
    where = options.ranks, options.nodes, options.machine, options.profile
    _print(plan(options.config, *where, options.json, options.overrides, options.allow_import))
    return 0


def _probe(options):
    under_a_parent()
    from deshpc.cli.plan import write_probe

    return start.run(lambda comm: write_probe(comm, options.out, options.name, options.threads), start.world())


def _print(text):
    """Write a command's result; DeshpcError where it cannot be written."""
    try:
        put_out(text + "\n")
    except BrokenPipeError:  # its reader, such as head, has had enough
        raise SystemExit(1) from None
    except OSError as error:
        raise DeshpcError(_not_written(error)) from None


def _not_written(error):
    return f"the result cannot be written to standard output: {error.strerror or error}"


def _show(comm, table, result):
    """Write a result from rank 0; DeshpcError on all ranks where it cannot be written.  Collective."""
    from deshpc.comm.group import Group

    def write():
        try:
            put_out(table(result) + "\n", _READ_WITHIN_S)
        except OSError as error:
            raise DeshpcError(_not_written(error)) from None

    group = Group(comm)
    group.together(write if comm.rank == 0 else lambda: None)
    group.free()
    return 0


def _show_if_possible(comm, table, result):
    """Write what training has given: model and record, which has the same, are there in any case."""
    if comm.rank == 0:
        try:
            put_out(table(result) + "\n", _READ_WITHIN_S)
        except OSError as error:
            say(f"deshpc: warning: {_not_written(error)}; the run's record.jsonl has it\n")
    return 0


def _info(options):
    from deshpc.cli.info import describe

    _print(describe(options.target, options.overrides, options.options, options.allow_import))
    return 0


def _doctor(options):
    from deshpc.cli.doctor import examine

    return examine(options.json)


def _completion(options):
    from deshpc.cli.completion import script

    _print(script(parser(), options.shell).rstrip("\n"))
    return 0
