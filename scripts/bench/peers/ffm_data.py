"""Rows of Criteo's shape as libffm files: 39 one-hot fields of the synthetic profile `criteo`, nine tenths for training.

    python scripts/bench/peers/ffm_data.py FOLDER ROWS [VALUE]

VALUE (1) stands beside every feature: 0.16013 is 1 / sqrt(39), which makes every sample one of norm 1, as libffm and xLearn make it themselves.
Features are numbered as they lie in each field; a test row lacks those that training has not seen.  FOLDER gets train.ffm, test.ffm, and their labels.
"""

import sys
from pathlib import Path

import numpy as np

from deshpc.config.load import build
from deshpc.data.synthetic import draw, generate

FIELDS = 39


def main(folder, rows, value="1"):
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
