"""Prepare KuaiRand, train every model on 1 and on 4 ranks, and print the test metrics beside the reference scores.

    python examples/kuairand/run.py SOURCE [MODEL ...]     needs mpiexec beside the Python that runs it

SOURCE is the folder of the raw files, see prepare.py; MODEL one of lr, fm, lr_history, fm_history (default: all).
Ends with an error if a test AUC is more than 0.003 below its reference, or if it depends on the number of ranks.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = {"lr": 0.7334, "fm": 0.7310, "lr_history": 0.7408, "fm_history": 0.7454}  # test AUC, see README.md

if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    from scores import main

    main(HERE, REFERENCE, __doc__)
