"""Every valid configuration trains, is saved, loaded, scored and exported, with finite numbers; any other is refused with a reason.

Configurations are drawn from the schema.  Of a trained one, the scores of `predict` are those of the exported model in NumPy, and
the metrics of the model that was read again are those that training ended with.  scripts/attacks/configurations.py draws more.
"""

import pytest
from drawn_config import FEW_KERNELS, Draw
from drawn_run import outcome

pytestmark = [pytest.mark.mpi, pytest.mark.in_turns]

MOST_REFUSED = 60  # drawn in a row


@pytest.mark.thorough(6)
@pytest.mark.parametrize("seed", range(16))
def test_a_drawn_configuration(world, tmp_path, seed):
    folder = world.bcast(tmp_path)
    for number in range(MOST_REFUSED):
        if outcome(world, Draw(f"{seed}, {number}", folder, FEW_KERNELS)) == "trained":
            return
        world.Barrier()
    pytest.fail(f"{MOST_REFUSED} configurations in a row were refused")
