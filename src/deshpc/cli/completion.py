"""`deshpc completion SHELL`: a script from which a shell learns to complete commands, options, files and values."""

import argparse

from deshpc.cli.toml import toml_value
from deshpc.config.options import options
from deshpc.errors import ConfigError

_FOLDERS = ("FOLDER", "RUN")
_NO_FILES = ("COLUMN", "PACKAGE.MODULE:CLASS")

_BASH = """
_deshpc_values() {{
  case $1 in
{cases}
  esac
}}

_deshpc() {{
  local name="" word=""
  if [[ ${{COMP_WORDS[COMP_CWORD]}} == "=" ]]; then
    name=${{COMP_WORDS[COMP_CWORD-1]}}
  elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == "=" ]]; then
    name=${{COMP_WORDS[COMP_CWORD-2]}} word=${{COMP_WORDS[COMP_CWORD]}}
  fi
  if [[ $name ]]; then
    COMPREPLY=($(compgen -W "$(_deshpc_values "$name")" -- "$word"))
    return
  fi
  _shtab_deshpc "$@"
  [[ ${{COMPREPLY[0]}} != *= ]] || compopt -o nospace
}}

complete -o bashdefault -F _deshpc deshpc
"""
"""What shtab's script for bash lacks: values behind `--set NAME=`, which bash sees as words of their own."""


def script(parser, shell):
    """The script for bash, zsh, tcsh or fish, as text.  ConfigError where shtab, which writes it, is not installed."""
    try:
        import shtab
    except ImportError:
        raise ConfigError("deshpc completion needs shtab: pip install 'deshpc[completion]'") from None
    _complete(parser, shtab)
    text = shtab.complete(parser, shell)
    return text + _BASH.format(cases="\n".join(_cases())) if shell == "bash" else text


def _complete(parser, shtab):
    """Tell shtab what the arguments of a parser and of its commands are."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete(command, shtab)
        elif action.dest == "overrides":
            action.complete = _names()
        elif action.metavar and not action.choices and action.metavar not in _NO_FILES:
            action.complete = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE


def _settable():
    return [option for option in options() if not option.in_list]


def _names():
    """What `--set` is followed by: shtab's words for names of options with = behind them."""
    names = " ".join(f"{option.name}=" for option in _settable())
    return {
        "bash": "_deshpc_names", "zsh": "_deshpc_names", "tcsh": f"({names})", "fish": names,
        "preamble": {
            "bash": f'_deshpc_names() {{\n  compgen -W "{names}" -- "$1"\n}}\n',
            "zsh": f"_deshpc_names() {{\n  compadd -S '' -- {names}\n}}\n",
        },
    }  # fmt: skip


def _cases():
    """Lines of a bash `case`: an option, and its values."""
    for option in _settable():
        values = [toml_value(value) if option.kind is bool else value for value in option.choices if value != ""]
        if values:
            yield f'    {option.name}) echo "{" ".join(values)}" ;;'
