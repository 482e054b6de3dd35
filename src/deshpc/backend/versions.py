"""Installed packages against the versions that deshpc's own metadata asks for.

What goes together is said once, in pyproject.toml.  pip keeps to it; an environment that was changed by hand, or that a site
has put together, may not.
"""

import re
from importlib import metadata

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?(?P<bounds>[^;]*)(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?")
_BOUND = re.compile(r"(>=|<)\s*([\d.]+)")


def unmet(extra=""):
    """What is installed in a version that deshpc does not go together with, and what to install; "" where all fits.

    What is not installed at all is not looked at: where it is needed, its import says so.

    extra : "cuda", or another of pyproject.toml's; "": what the package itself needs
    """
    try:
        required = metadata.requires("deshpc") or []
    except metadata.PackageNotFoundError:  # run from a source tree: nothing is known
        return ""
    wrong = [one for text in required if (one := _wrong(text, extra))]
    if not wrong:
        return ""
    found = ", ".join(f"{name} {version}" for name, version, _ in wrong)
    wanted = " ".join(f"'{name}{bounds}'" for name, _, bounds in wrong)
    return f"{found} does not go together with deshpc{extra and f'[{extra}]'}: pip install {wanted}"


def _wrong(text, extra):
    """(name, installed version, bounds) of a requirement that is not met, or None."""
    required = _REQUIREMENT.match(text)
    if (required["extra"] or "") != extra:
        return None
    try:
        version = metadata.version(required["name"])
    except metadata.PackageNotFoundError:
        return None
    bounds = ",".join(sorted(f"{sign}{bound}" for sign, bound in _BOUND.findall(required["bounds"])))
    fits = all(
        _release(version) >= _release(bound) if sign == ">=" else _release(version) < _release(bound)
        for sign, bound in _BOUND.findall(bounds)
    )
    return None if fits else (required["name"], version, bounds)


def _release(version):
    """(2, 5) of "2.5.0rc1": numbers to compare, without zeros behind."""
    numbers = [int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
