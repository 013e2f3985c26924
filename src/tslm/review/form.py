"""The review form as HTML: three ratings, the stage in the reviewer's opinion, a comment."""

from collections.abc import Sequence
from html import escape

from tslm.predictions.nights import STAGE_OF_ANSWER, short_label
from tslm.review.records import (
    MAX_COMMENT_LENGTH,
    MAX_NAME_LENGTH,
    RATING_QUESTIONS,
    RATING_TITLES,
    RATING_VALUES,
    RATINGS,
)

_TITLES = {RATING_VALUES[0]: "1, poor", RATING_VALUES[-1]: "5, excellent"}
_KEYS = (
    "<kbd>1</kbd>–<kbd>5</kbd> rate, one question after the other; stage by <kbd>w</kbd> <kbd>1</kbd> <kbd>2</kbd> "
    "<kbd>3</kbd> <kbd>r</kbd>; <kbd>c</kbd> comment; <kbd>Enter</kbd> next (<kbd>Ctrl</kbd>+<kbd>Enter</kbd> in the "
    "comment), <kbd>Shift</kbd>+<kbd>Enter</kbd> back in the list; <kbd>←</kbd> <kbd>→</kbd> neighbouring epochs"
)


def render_form(options: Sequence[str], blinded: bool, system: str) -> str:
    """The form as HTML, and the dialog that asks who is reviewing; `system` is the name of the reviewed one."""
    ratings = "".join(
        _render_choices(
            rating,
            f"{escape(RATING_TITLES[rating])} <small>{escape(RATING_QUESTIONS[rating])}</small>",
            [(str(value), str(value), _TITLES.get(value, str(value)), str(value), "") for value in RATING_VALUES],
            '<div class="ends" aria-hidden="true"><span>1 poor</span><span>5 excellent</span></div>',
        )
        for rating in RATINGS
    )
    stages = [
        (option, short_label(option), option, _stage_key(option), str(STAGE_OF_ANSWER[option])) for option in options
    ]
    hidden = '<span class="blinded">expert hidden</span>' if blinded else ""
    return (
        f'<form id="review" autocomplete="off" aria-label="Review of this epoch" data-system="{escape(system)}">'
        f'<header><h4>Your review {hidden}</h4><button type="button" id="review-who" title="Change the reviewer">who?'
        '</button></header><label class="hidden" for="review-queue">Epochs to review</label>'
        '<select id="review-queue"></select><p class="fine"><span id="review-count"></span>'
        '<progress aria-label="Complete reviews" max="1" value="0"></progress></p>'
        f'<fieldset id="review-fields" disabled>{ratings}'
        + _render_choices("corrected_stage", "The stage in your opinion", stages, "")
        + f'<label for="review-comment"><b>Comment</b></label><textarea id="review-comment" name="comment" '
        f'maxlength="{MAX_COMMENT_LENGTH}"></textarea></fieldset>'
        '<p id="review-done" class="note" role="status" hidden>All epochs of the list are complete. Thank you.</p>'
        '<div id="review-bar"><p id="review-state" role="status">Loading …</p>'
        '<button type="button" id="review-back">Back</button>'
        '<button type="button" id="review-next">Save and next</button>'
        f'</div><p id="review-keys">{_KEYS}</p>'
        '<p class="fine"><a id="review-export" download="reviews.csv">Your reviews as a table (CSV)</a></p></form>'
        '<dialog id="review-name" aria-labelledby="review-name-title"><form method="dialog"><h4 id="review-name-title">'
        "Who is reviewing?</h4><label>Your name or initials, the same every time"
        f'<input name="name" required maxlength="{MAX_NAME_LENGTH}" autocomplete="name"></label>'
        "<button>Begin</button></form></dialog>"
    )


def _render_choices(group: str, legend: str, choices: Sequence[tuple[str, str, str, str, str]], ends: str) -> str:
    """A group of radio buttons; `choices` are (value, label, in full, key, code of a stage)."""
    labels = "".join(
        f'<label title="{escape(title)}"><input type="radio" name="{group}" value="{escape(value)}" '
        f'data-key="{escape(key)}" data-code="{escape(code)}" aria-label="{escape(title)}">{escape(label)}</label>'
        for value, label, title, key, code in choices
    )
    return (
        f'<fieldset data-group="{group}" tabindex="-1"><legend>{legend}</legend>'
        f'<div class="choices">{labels}</div>{ends}</fieldset>'
    )


def _stage_key(option: str) -> str:
    """The key that picks a stage: the digit of N1 to N3, else its first letter (`s` for NREM, as `n` steps on)."""
    code = str(STAGE_OF_ANSWER[option])
    return "s" if code == "NREM" else code[-1].lower() if code[0] == "N" else code[0].lower()
