import pytest

from data_prep.cohorts.cohort import prepare_night
from data_prep.simulators.human.night import simulate_human_night
from tslm.data.prepared.recordings import Recording


@pytest.fixture(scope="session")
def night() -> Recording:
    """A simulated night with its evidence."""
    return prepare_night(simulate_human_night(36, 0))
