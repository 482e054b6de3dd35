"""The rows that all programs train on, written once in each program's own form.

They are those of deshpc's synthetic profile `criteo`: 26 categorical values, 13 numbers that are normally distributed,
a label; nine tenths for training.  deshpc draws the same rows itself where they are wanted in memory.

    train.indices.npy (n, 26) int32    for programs with static tables: each field's values numbered as they first appear
    train.dense.npy (n, 13) float32, train.labels.npy (n) float32
    train.libsvm    for xLearn: the numbers are features 0 .. 12, the indices follow with the value 1
    train.vw        for Vowpal Wabbit, which hashes the values itself: one namespace, faster than one a field
    train.tsv       for deshpc: Criteo's text; integers of which each number is nearly the logarithm, and the values

A value's text is 8 hexadecimal digits.  test.* are the same of the other tenth.  description.json has the numbers of
rows and the sizes of the 26 static tables.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

BLOCK = 50_000  # rows whose text is held at once
ODD = 2654435761  # times an odd number modulo 2^32: different values stay different


def written(folder, rows):
    """The folder with the data of `rows` rows, which are written if they are not there."""
    target = Path(folder) / f"data-{rows}"
    if not target.exists():
        Path(folder).mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder))
        write(scratch, rows)
        os.rename(scratch, target)
    return target


def write(folder, rows):
    """Write all files of `rows` rows into `folder`."""
    from deshpc.config.load import build
    from deshpc.data.synthetic import draw, generate

    parts = {"train": rows * 9 // 10, "test": rows - rows * 9 // 10}
    synthetic = {"profile": "criteo", **{f"{part}_rows": count for part, count in parts.items()}}
    config = build({"data": {"format": "synthetic", "synthetic": synthetic}}).data.synthetic
    ids = {part: draw(config, part, 0, count).ids.reshape(count, -1) for part, count in parts.items()}
    indices, sizes, texts = numbered(np.concatenate(list(ids.values())))
    for part, rows_of_part in zip(parts, np.split(indices, [parts["train"]]), strict=True):
        samples = generate(config, part, 0, parts[part])
        np.save(folder / f"{part}.indices.npy", rows_of_part)
        np.save(folder / f"{part}.dense.npy", samples.dense)
        np.save(folder / f"{part}.labels.npy", samples.labels)
        write_texts(folder, part, rows_of_part, samples.dense, samples.labels, texts)
    description = {"rows": parts, "table_sizes": sizes}
    (folder / "description.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def numbered(ids):
    """(indices, sizes, texts): values numbered field by field as they first appear; each one's text.

    ids : (n, fields) int64.  Returns (n, fields) int32, which count on from field to field, a list of fields' numbers of
    values, and a list of texts by index.
    """
    indices, sizes, texts = np.empty(ids.shape, np.int32), [], []
    for field in range(ids.shape[1]):
        values, first, inverse = np.unique(ids[:, field], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(values), np.int32)
        rank[order] = np.arange(len(values), dtype=np.int32)
        indices[:, field] = len(texts) + rank[inverse]
        sizes.append(len(values))
        texts += [f"{(value * 32 + field) * ODD % 2**32:08x}" for value in values[order].tolist()]
    return indices, sizes, texts


def write_texts(folder, part, indices, dense, labels, texts):
    """Write the rows of a part as three files of text."""
    integers = (np.sign(dense) * np.rint(10 * np.expm1(np.abs(dense)))).astype(np.int64)
    vowpal_texts = [""] * len(texts)
    for field in range(indices.shape[1]):
        for index in np.unique(indices[:, field]).tolist():
            vowpal_texts[index] = chr(ord("a") + field) + texts[index]
    libsvm_texts = [f"{dense.shape[1] + index}:1" for index in range(len(texts))]
    with (
        open(folder / f"{part}.libsvm", "w", encoding="utf-8") as libsvm,
        open(folder / f"{part}.vw", "w", encoding="utf-8") as vowpal,
        open(folder / f"{part}.tsv", "w", encoding="utf-8") as criteo,
    ):
        for begin in range(0, len(labels), BLOCK):
            block = slice(begin, begin + BLOCK)
            for label, numbers, whole, row in zip(
                labels[block].astype(int).tolist(), dense[block].tolist(), integers[block].tolist(), indices[block].tolist(),
                strict=True,
            ):  # fmt: skip
                shown = [f"{i}:{number:.4f}" for i, number in enumerate(numbers)]
                libsvm.write(" ".join([str(label), *shown, *map(libsvm_texts.__getitem__, row)]) + "\n")
                vowpal.write(
                    " ".join(["1" if label else "-1", "|", *shown, *map(vowpal_texts.__getitem__, row)]) + "\n"
                )
                criteo.write("\t".join([str(label), *map(str, whole), *map(texts.__getitem__, row)]) + "\n")
