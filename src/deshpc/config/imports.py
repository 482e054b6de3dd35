"""What a configuration may have imported: names that the user has allowed, whatever a file says.

Importing runs code.  A configuration, or the one in a model's manifest, may come from a stranger, so a name of the form
package.module:Class is taken from it only where the caller has given the same name.
"""

from deshpc.errors import ConfigError


def require_allowed(name, allow_import, where):
    """ConfigError, saying what to add, unless `name` is none to import, or one of `allow_import`.  Imports nothing.

    allow_import : the user's own words, a sequence of package.module:Class or one of them
    where : option and file
    """
    allowed = (allow_import,) if isinstance(allow_import, str) else tuple(allow_import)
    for one in allowed:
        if not _is_name(one):
            raise ConfigError(f"--allow-import {one!r}: expected package.module:Class")
    if ":" not in name or name in allowed:
        return
    if not _is_name(name):
        raise ConfigError(f"{where} = {name!r} is none of the built-in names, nor of the form package.module:Class")
    raise ConfigError(
        f"{where} = {name!r} would be imported, which runs its code: if it is to be trusted, add --allow-import {name} "
        f"(in Python, allow_import=({name!r},))"
    )


def _is_name(text):
    """Whether a text is package.module:Class, and nothing that a shell would take for more."""
    module, colon, attribute = str(text).partition(":")
    return bool(colon) and str(text).isascii() and all(part.isidentifier() for part in (*module.split("."), attribute))
