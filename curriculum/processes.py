"""Devices and processes of a run; `accelerate launch` chooses them."""

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object

from tslm.config import RunConfig
from tslm.scoring.predictions import PredictionRow


def build_accelerator(config: RunConfig) -> Accelerator:
    """Accelerate set up for the run's precision; devices and processes come from `accelerate launch`."""
    AcceleratorState._reset_state(reset_partial_state=False)  # the stage before may have had another precision
    return Accelerator(
        mixed_precision="bf16" if config.train.precision == "bf16" else "no",
        # Stages without night windows leave the context network and its projector unread.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def share_indices(indices: list[int], accelerator: Accelerator) -> list[int]:
    """This process' part of some samples; all parts together hold each once."""
    return indices[accelerator.process_index :: accelerator.num_processes]


def gather_rows(rows: list[PredictionRow], accelerator: Accelerator) -> list[PredictionRow]:
    """The rows of all processes, by recording and epoch, on every process."""
    gathered = gather_object(rows) if accelerator.num_processes > 1 else rows
    return sorted(gathered, key=lambda row: (row.get("recording", ""), row.get("epoch_idx", 0), row["sample_id"]))
