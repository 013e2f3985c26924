import json
import re

import pytest

from tests.factories.reviews import OPTIONS, make_rows, write_night, write_run
from tslm.review.page import ReviewPages, build_content_policy, render_form
from tslm.review.run_epochs import NotInRunError, read_review_run


def read_night(page):
    (text,) = re.findall(r'id="tslm-document">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


@pytest.fixture
def run(tmp_path):
    rows = make_rows(6)
    second = [row | {"recording": "n2", "sample_id": row["sample_id"].replace("n1", "n2")} for row in make_rows(3)]
    for night in (rows, second):
        write_night(tmp_path / "data", night)
    return read_review_run(write_run(tmp_path / "run", rows + second))


def test_every_recording_has_a_page_of_its_own_and_the_first_one_is_the_default(run, tmp_path):
    pages = ReviewPages(run, "n2", tmp_path / "data", blinded=True)
    assert read_night(pages.render())["sample_id"] == ["n2:0", "n2:1", "n2:2"]
    assert read_night(pages.render("n1"))["recording"] == "n1"
    for name in ("n3", "", "../n1"):
        with pytest.raises(NotInRunError, match="no recording"):
            pages.render(name)


def test_the_expert_is_on_the_page_where_it_is_not_hidden(run):
    shown, hidden = (read_night(ReviewPages(run, "n1", None, blinded=blinded).render()) for blinded in (False, True))
    assert len(shown["expert"]) == 6
    assert "expert" not in hidden
    assert "references" not in hidden


def test_checks_of_claims_can_be_hidden_and_the_text_stays(run):
    marked, plain = (
        read_night(ReviewPages(run, "n1", None, blinded=True, checks_shown=shown).render())["rationales"]
        for shown in (True, False)
    )
    assert any(text["claims"] for text in marked)
    assert not any(text["claims"] or any(numbers for _, numbers in text["pieces"]) for text in plain)
    assert [[piece for piece, _ in text["pieces"]] for text in marked] == [
        [piece for piece, _ in text["pieces"]] for text in plain
    ]


def test_places_of_waveforms_are_on_the_page_whether_the_expert_is_hidden_or_not(run):
    shown, hidden = (read_night(ReviewPages(run, "n1", None, blinded=blinded).render()) for blinded in (False, True))
    assert shown["events"] == hidden["events"]
    assert hidden["events"]["epochs"][0][:3] == [0, 300, 100]


def test_struck_sentences_are_shown_with_the_checks_alone(run):
    for row in run.rows:
        row["struck"] = [(0, "Three spindles. ")]
    marked, plain = (
        read_night(ReviewPages(run, "n1", None, blinded=True, checks_shown=shown).render())["rationales"]
        for shown in (True, False)
    )
    assert all(text["pieces"][text["struck"][0]][0] == "Three spindles" for text in marked)
    assert not any(text["struck"] or "Three spindles" in str(text["pieces"]) for text in plain)


def test_a_missing_recording_of_signals_is_told(run, tmp_path):
    (tmp_path / "data" / "n2.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks n2\.parquet"):
        ReviewPages(run, "n1", tmp_path / "data", blinded=False)


def test_only_the_pages_own_scripts_may_run_and_they_are_the_same_on_all_pages(run):
    pages = ReviewPages(run, "n1", None, blinded=True)
    policies = {build_content_policy(pages.render(name)) for name in ("n1", "n2")}
    assert len(policies) == 1
    assert "unsafe-inline'; img" in policies.copy().pop()
    assert "script-src 'sha256-" in policies.pop()


def test_the_form_asks_what_the_run_may_answer_and_escapes_it():
    form = render_form(OPTIONS, blinded=True, system="Classifier")
    assert [form.count(f'name="{group}"') for group in ("accuracy", "coherence", "corrected_stage")] == [5, 5, 5]
    assert re.findall(r'name="corrected_stage" value="[^"]*" data-key="(.)"', form) == ["w", "1", "2", "3", "r"]
    assert "expert hidden" in form
    assert "expert hidden" not in render_form(OPTIONS, blinded=False, system="Classifier")
