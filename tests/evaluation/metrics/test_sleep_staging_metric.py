from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tslm.labels import LABEL_SETS
from tslm.predictions.scorings import parse_scorings
from tslm.scoring.systems import score_system

evaluate = pytest.importorskip("evaluate", reason="needs the extra evaluate")
FOLDER = Path(__file__).parents[3] / "evaluation" / "metrics" / "sleep_staging"
OPTIONS = list(LABEL_SETS["aasm"].answers)


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Loaded from its folder as users load it, with a cache of its own and no network."""
    cache = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)
        patch.setattr("evaluate.config.HF_MODULES_CACHE", cache / "modules")
        patch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
        yield evaluate.load(str(FOLDER), cache_dir=str(cache))


def make_samples(num_samples: int = 60) -> tuple[list[str], list[str], list[str], list[list[float]]]:
    rng = np.random.default_rng(0)
    references = rng.choice(OPTIONS, num_samples).tolist()
    probabilities = rng.dirichlet(np.ones(5), num_samples).round(6).tolist()
    texts = [f"Some reasons. Answer: {OPTIONS[int(np.argmax(values))]}" for values in probabilities]
    return ["I cannot tell.", *texts[1:]], references, [f"s{idx % 6}" for idx in range(num_samples)], probabilities


def test_the_whole_set_comes_from_strings(metric: Any) -> None:
    texts, references, subjects, probabilities = make_samples()
    found = metric.compute(
        predictions=texts, references=references, subjects=subjects, probabilities=probabilities, num_resamples=50
    )
    rows = [
        {
            "system": "language_model",
            "sample_id": str(idx),
            "truth": truth,
            "generated": text,
            "options": OPTIONS,
            "subject": subject,
            "probabilities": values,
        }
        for idx, (text, truth, subject, values) in enumerate(
            zip(texts, references, subjects, probabilities, strict=True)
        )
    ]
    (scoring,) = parse_scorings(rows).values()
    assert found == score_system(scoring, num_resamples=50)
    assert found["num_parse_failures"] == 1
    assert found["intervals"]["num_units"] == 6
    assert found["probabilities"]["num_samples"] == 60


def test_batches_added_one_after_another_are_one_computation(metric: Any) -> None:
    texts, references, *_ = make_samples()
    whole = metric.compute(predictions=texts, references=references, num_resamples=20)
    for first in range(0, 60, 20):
        metric.add_batch(predictions=texts[first : first + 20], references=references[first : first + 20])
    assert metric.compute(num_resamples=20) == whole
    assert whole["intervals"]["unit"] == "blocks of epochs"


def test_other_options_than_those_of_people_can_be_given(metric: Any) -> None:
    options = list(LABEL_SETS["rodent"].answers)
    found = metric.compute(
        predictions=["Answer: NREM sleep", "Answer: Wake"],
        references=["NREM sleep", "REM sleep"],
        options=options,
        num_resamples=0,
    )
    assert (found["labels"], found["accuracy"]) == (options, 0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"references": ["Coma", "Wake"]}, "sample 0: truth 'Coma' is none"),
        ({"subjects": ["a"]}, "1 subjects for 2 predictions"),
        ({"probabilities": [[1, 0, 0, 0, 0], [0.5, 0, 0, 0, 0]]}, "sample 1: probabilities .* sum to 1"),
    ],
)
def test_wrong_input_is_named(metric: Any, wrong: dict, message: str) -> None:
    given = {"predictions": ["Answer: Wake"] * 2, "references": ["Wake"] * 2} | wrong
    with pytest.raises(ValueError, match=message):
        metric.compute(**given)
