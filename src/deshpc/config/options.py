"""Every option of a configuration, one after the other, as the schema has them."""

import dataclasses
import typing
from dataclasses import dataclass

from deshpc.config.schema import Config, options_of


@dataclass(frozen=True)
class Option:
    """section : dataclass that has it;  path : names from Config down to it;  in_list : whether its section may be repeated
    kind : type of its value, or of the values in its list;  several : whether it is a list;  default : its value, a list if several
    metadata : what `schema.option` was given
    """

    section: type
    path: tuple
    in_list: bool
    kind: type
    several: bool
    default: object
    metadata: dict

    @property
    def name(self):
        """section.key"""
        return ".".join(self.path)

    @property
    def choices(self):
        """Its values, as far as there is a list of them."""
        return (True, False) if self.kind is bool else self.metadata["choices"]


def options(section=Config, path=(), in_list=False):
    """An Option for each one of a section and of the sections inside it, in the schema's order."""
    hints = typing.get_type_hints(section)
    for name, field in options_of(section).items():
        hint = hints[field.name]
        several = typing.get_origin(hint) is tuple
        kind = typing.get_args(hint)[0] if several else hint
        if dataclasses.is_dataclass(kind):
            yield from options(kind, (*path, name), in_list or several)
        else:
            default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
            default = list(default) if several else default
            yield Option(section, (*path, name), in_list, kind, several, default, field.metadata)
