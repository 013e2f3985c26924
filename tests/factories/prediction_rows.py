"""Rows of predictions for tests."""

from typing import Any

from tslm.labels import LABEL_SETS

OPTIONS = list(LABEL_SETS["aasm"].answers)


def make_row(idx: int, truth: str = "Wake", generated: str = "Low amplitude. Answer: Wake", **more: Any) -> Any:
    """An epoch of one night, in time order by its index."""
    return {
        "sample_id": f"SC4001:{idx}",
        "recording": "SC4001",
        "epoch_idx": idx,
        "onset_s": 30.0 * idx,
        "truth": truth,
        "generated": generated,
        "options": OPTIONS,
        "target": f"Reference. Answer: {truth}",
    } | more
