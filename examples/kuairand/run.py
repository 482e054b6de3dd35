"""Prepare KuaiRand, train LR and FM on 1 and on 4 ranks, deep models from 3 seeds, and print test metrics beside references.

    python examples/kuairand/run.py SOURCE [MODEL ...]     needs mpiexec beside the Python that runs it

SOURCE is the folder of the raw files, see prepare.py; MODEL the name of a configuration, such as fm_history (default: all).
Ends with an error if a test AUC is more than 0.003 below its reference, or if it depends on the number of ranks.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = {"lr": 0.7334, "fm": 0.7310, "lr_history": 0.7408, "fm_history": 0.7454}  # test AUC, see README.md
DEEP = {
    "deepfm": 0.7316, "dcn": 0.7305, "dcnv2": 0.7295, "dlrm": None, "deepfm_history": 0.7467, "dcn_history": 0.7415,
}  # fmt: skip

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    from scores import main

    main(HERE, REFERENCE, DEEP, __doc__)
