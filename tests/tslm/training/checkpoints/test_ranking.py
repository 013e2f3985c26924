import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.small import small_config
from tslm.training.checkpoints.ranking import Standing, find_place, insert_top

SCORER = small_config(model__name="classifier", train__min_delta=0.0)


def save(folder: Path, step: int, loss: float, kappa: float | None = None, config: Any = SCORER) -> int | None:
    """Rank a checkpoint that is its state.json alone."""
    state = {"step": step, "val_loss": loss, "val_kappa": kappa}
    place = find_place(folder, state, config)
    if place is not None:
        new = folder / "new"
        new.mkdir(parents=True)
        (new / "state.json").write_text(json.dumps(state))
        insert_top(new, folder, place)
    return place


def read_steps(folder: Path) -> dict[str, int]:
    return {path.parent.name: json.loads(path.read_text())["step"] for path in sorted(folder.glob("*/state.json"))}


@given(
    passes=st.lists(
        st.tuples(st.sampled_from([0.5, 0.6, None]), st.sampled_from([1.0, 2.0, 3.0])), min_size=1, max_size=8
    )
)
def test_the_three_best_by_kappa_and_then_by_loss_are_kept_in_order(
    passes: list[tuple[float | None, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    for step, (kappa, loss) in enumerate(passes, 1):
        save(folder, step, loss, kappa)
    order = sorted(
        range(1, len(passes) + 1), key=lambda step: (-(passes[step - 1][0] or -1.0), passes[step - 1][1], step)
    )
    assert read_steps(folder) == {f"top_{place}": step for place, step in enumerate(order[:3], 1)}


def test_a_language_model_is_ranked_by_loss_whatever_its_kappa(tmp_path: Path) -> None:
    for step, (loss, kappa) in enumerate([(2.0, 0.1), (1.0, 0.0), (3.0, 0.9)], 1):
        save(tmp_path, step, loss, kappa, small_config(model__name="soft_prompt"))
    assert read_steps(tmp_path) == {"top_1": 2, "top_2": 1, "top_3": 3}


def test_a_loss_that_falls_by_less_than_counts_is_no_better() -> None:
    assert not Standing(0.99).is_better(Standing(1.0), 0.1)
    assert Standing(0.8).is_better(Standing(1.0), 0.1)
    assert Standing(1.0, 0.61).is_better(Standing(0.5, 0.6), 0.1)


def test_a_pass_that_is_repeated_after_a_kill_stands_there_once(tmp_path: Path) -> None:
    for step, kappa in ((1, 0.5), (2, 0.7), (3, 0.6)):
        save(tmp_path, step, 1.0, kappa)
    save(tmp_path, 2, 1.0, 0.4)
    assert read_steps(tmp_path) == {"top_1": 1, "top_2": 2}


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_gap_that_a_kill_left_is_closed(missing: int, tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, float(step), 0.5)
    (tmp_path / f"top_{missing}").rename(tmp_path / "lost")
    save(tmp_path, 4, 4.0, 0.5)
    kept = [step for step in (1, 2, 3) if step != missing]
    assert {name: step for name, step in read_steps(tmp_path).items() if name != "lost"} == {
        "top_1": kept[0],
        "top_2": kept[1],
        "top_3": 4,
    }


def test_a_checkpoint_worse_than_three_others_is_not_kept(tmp_path: Path) -> None:
    places = [save(tmp_path, step, 1.0, kappa) for step, kappa in ((1, 0.5), (2, 0.7), (3, 0.6), (4, 0.4))]
    assert places == [1, 1, 2, None]
    assert read_steps(tmp_path) == {"top_1": 2, "top_2": 3, "top_3": 1}
