"""Prepare MovieLens, train LR and FM on 1 and on 4 ranks, deep models from 3 seeds, and print test metrics beside references.

    python examples/movielens/run.py SOURCE [MODEL ...]     needs mpiexec beside the Python that runs it

SOURCE is the folder of the raw files, see prepare.py; MODEL the name of a configuration, such as rating_fm (default: all).
Ends with an error if a test AUC is more than 0.003 below its reference, or if it depends on the number of ranks.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = {  # test AUC, see README.md
    "implicit_lr": 0.8677, "implicit_fm": 0.9088, "implicit_ids_lr": 0.8681, "implicit_ids_fm": 0.8875,
    "rating_lr": 0.7911, "rating_fm": 0.7866,
}  # fmt: skip
DEEP = {
    "implicit_deepfm": 0.8907, "rating_deepfm": 0.7890, "rating_dcn": 0.7893, "rating_wide_deep": None, "rating_nfm": None,
    "rating_xdeepfm": None,
}  # fmt: skip

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    from scores import main

    main(HERE, REFERENCE, DEEP, __doc__)
