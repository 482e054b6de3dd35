"""Parse the command line and hand over.  Nothing heavy is imported before a command needs it.

Exit codes: 0 success; 1 a failure while running; 2 bad command line or configuration; 3 bad data; 4 a launch that
does not fit; 130 interrupted; 143 terminated.
"""

import argparse

import deshpc
from deshpc.comm import launch
from deshpc.comm.failure import Terminated, sigterm_raises
from deshpc.comm.launcher import launcher
from deshpc.comm.mpich import under_a_parent
from deshpc.errors import ConfigError


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(f"{message}\n{self.format_usage().rstrip()}")


def main(argv=None):
    """Run one command; returns the exit code."""
    try:
        with sigterm_raises():
            options = _parser().parse_args(argv)
            return options.command(options)
    except (Exception, KeyboardInterrupt, Terminated) as error:  # before MPI runs; then, launch.run has the last word
        return launch.leave(error)


def _parser():
    parser = _Parser(
        prog="deshpc",
        description="Train click-through-rate models on sharded hash tables.  For N ranks: mpiexec -n N deshpc ...",
    )
    parser.add_argument("--version", action="version", version=f"deshpc {deshpc.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model by a TOML configuration")
    train.add_argument("config", metavar="CONFIG.toml")
    train.add_argument(
        "--check-bytes", action="store_true", help="fail if the bytes sent differ from the formula; the model is saved first"
    )
    _add_set(train)
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("eval", help="metrics of a trained model")
    evaluate.add_argument("directory", metavar="RUN", help="the run's directory")
    evaluate.add_argument("--part", choices=("test", "valid", "train"), default="test", help="part of the data")
    _add_set(evaluate)
    evaluate.set_defaults(command=_evaluate)

    info = commands.add_parser("info", help="versions and machine; a configuration, resolved; a run's model")
    info.add_argument("target", nargs="?", metavar="CONFIG.toml|RUN")
    info.add_argument("--options", action="store_true", help="list every option with its default and meaning")
    _add_set(info)
    info.set_defaults(command=_info)

    doctor = commands.add_parser("doctor", help="launch, machine, speed of messages, known traps and their remedies")
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_set(parser):
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides",
        help="override an option; may be repeated",
    )  # fmt: skip


def _train(options):
    from deshpc.config import load

    under_a_parent()
    if launcher().ranks == 1:
        load(options.config, options.overrides)  # a mistake needs no engine to be found; several ranks agree on it
    from deshpc.cli.tables import training_table
    from deshpc.training.api import train

    return launch.run(
        lambda comm: _show(
            comm, training_table, train(options.config, comm, options.overrides, options.check_bytes)
        ),
        launch.world(),
    )


def _evaluate(options):
    under_a_parent()
    from deshpc.cli.tables import metrics_table
    from deshpc.training.api import evaluate

    return launch.run(
        lambda comm: _show(
            comm, metrics_table, evaluate(options.directory, comm, options.overrides, options.part)
        ),
        launch.world(),
    )


def _show(comm, table, result):
    if comm.rank == 0:
        print(table(result), flush=True)
    return 0


def _info(options):
    from deshpc.cli.info import describe

    print(describe(options.target, options.overrides, options.options))
    return 0


def _doctor(options):
    from deshpc.cli.doctor import examine

    return examine(options.json)
