"""The values that keys are those of, looked for where they were read: a key is a hash, and does not say."""

from dataclasses import replace

import numpy as np

from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.hashing.key import with_field


def raw_values(config, paths, field, keys):
    """{key: value as text} of those keys of a categorical field that are found in files, which are read until all are.

    config : DataConfig of a format whose columns have names;  paths : of the files, as its reader takes them
    field : FieldConfig;  keys : [int]
    """
    fields = field, *(one for one in config.fields if one.name == field.share)  # whose keys they may be
    reader = open_format(replace(config, fields=fields, crosses=()), label=False, weight=False, keep=(field.name,))
    number = reader.schema.numbers_of_keys[0]
    left, found = {with_field(key, number): key for key in keys}, {}
    for columns in reader.blocks(paths, BadRows("skip")):
        here, places = np.unique(columns.key_fields[0].keys, return_index=True)
        for at in np.flatnonzero(np.isin(here, np.array(list(left), np.uint64))).tolist():
            text = columns.carried.text(0, int(columns.rows[places[at]]))
            found[left.pop(int(here[at]))] = "" if text in config.missing else text
        if not left:
            break
    return found
