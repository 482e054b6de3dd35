"""Rows of Criteo's shape as libffm files: 39 one-hot fields of the synthetic profile `criteo`, nine tenths for training.

    python scripts/bench/peers/ffm_data.py FOLDER ROWS [VALUE]

VALUE (1) stands beside every feature.
Features are numbered as they lie in each field; a test row lacks those that training has not seen.  FOLDER gets train.ffm, test.ffm, their labels, and
description.json, which has the number of features.
"""

import json
import sys
from pathlib import Path

import numpy as np

FIELDS = 39


def log_loss(probabilities, labels):
    """Mean log-loss of probabilities (n), by labels of 0 and 1."""
    p = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return -np.where(labels > 0.5, np.log(p), np.log1p(-p)).mean()


def write(folder, rows, value="1"):
    """Write the files of so many rows into a folder."""
    from deshpc.config.load import build
    from deshpc.data.synthetic import draw, generate

    folder.mkdir(parents=True, exist_ok=True)
    parts, known = {"train": rows * 9 // 10, "test": rows - rows * 9 // 10}, []
    synthetic = {"profile": "criteo", "numeric": "bucket", **{f"{part}_rows": count for part, count in parts.items()}}
    config = build({"data": {"format": "synthetic", "synthetic": synthetic}}).data.synthetic
    for part, count in parts.items():
        ids, labels, columns, begin = draw(config, part, 0, count).ids.reshape(count, FIELDS), generate(config, part, 0, count).labels, [], 0
        for field in range(FIELDS):
            if part == "train":
                known.append(np.unique(ids[:, field]))
            values = known[field]
            place = np.minimum(np.searchsorted(values, ids[:, field]), len(values) - 1)
            columns.append(np.where(values[place] == ids[:, field], begin + place, -1))
            begin += len(values)
        with open(folder / f"{part}.ffm", "w", encoding="utf-8") as file:
            for label, row in zip(labels.astype(int).tolist(), np.stack(columns, 1).tolist(), strict=True):
                file.write(" ".join([str(label), *(f"{field}:{one}:{value}" for field, one in enumerate(row) if one >= 0)]) + "\n")
        np.save(folder / f"{part}.labels.npy", labels)
    (folder / "description.json").write_text(json.dumps({"features": sum(map(len, known))}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
