"""`deshpc profile`: what the data of a configuration, or a cache, looks like."""

from deshpc.cli.tables import aligned, columns
from deshpc.config import DataConfig, load
from deshpc.config.tasks import losses_of
from deshpc.formats.label_kinds import kinds_of
from deshpc.storage.strict_json import json_text


def profile(target, part, overrides, as_json, allow_import=()):
    """Statistics of a part of a configuration's data, or of a cache file, as text or JSON; see `data.statistics`."""
    from deshpc.data.input import open_input, require
    from deshpc.data.statistics import profile_of

    if str(target).endswith(".toml"):
        config = load(target, overrides, allow_import)
        config, labels = config.data, kinds_of(losses_of(config))
    else:
        config, labels = DataConfig(format="cache", **{part: (str(target),)}), None
    source = open_input(config, labels)
    require(source, part, "the profile")
    found = profile_of(source, part)
    return json_text(found, indent=1) if as_json else _text(found)


def _text(found):
    labels = "" if "labels" in found else f"{_label(found)}, "
    head = [
        ("rows", f"{found['rows']:,}, {labels}{found['skipped']:,} skipped"),
        *((f"  {one['name']}", f"{_label(one)}, {_percent(one['missing_share'])} missing") for one in found.get("labels", ())),
        ("keys a sample", f"m = {found['keys_per_sample']:.2f}, at most {found['most_keys']:,}"),
        ("distinct keys", f"{found['distinct_keys']:,}"),
    ]
    for size, u in found["distinct_per_sample"].items():
        head.append((f"  in {int(size):,} rows", "too few rows" if u is None else f"u = {u:.3f} a sample"))
    fields = [("field", "kind", "distinct keys", "keys a sample", "at most", "missing", "top key", "Zipf exponent")]
    for one in found["fields"]:
        exponent = "-" if one["zipf_exponent"] is None else f"{one['zipf_exponent']:.2f}"
        fields.append(
            (one["name"], one["kind"], f"{one['distinct_keys']:,}", f"{one['keys_per_sample']:.2f}", f"{one['most_keys']:,}",
             _percent(one["missing_share"]), _percent(one["top_share"]), exponent)
        )  # fmt: skip
    dense = [("dense field", "missing", "min", "max", "mean")]
    for one in found["dense"]:
        dense.append((one["name"], _percent(one["missing_share"]), *(_number(one[name]) for name in dense[0][2:])))
    return "\n".join(
        [aligned(head), *(line for table in (fields, dense) if len(table) > 1 for line in ("", *columns(table)))]
    )


def _label(found):
    return f"mean label {_number(found['mean_label'])}" if "mean_label" in found else f"{_percent(found['positive_share'])} positive"


def _percent(share):
    return "-" if share is None else f"{100 * share:.2f} %"


def _number(number):
    return "-" if number is None else f"{number:.6g}"
