"""Parser of ECG rationales in plain English: claims on rate, regularity, early beats, pauses, RR intervals, R waves.

The grammar is the table `_PHRASES`. Its rows are tried in their order, and words that one row has read are not read
again. tslm.explain.ecg_checks compares the claims with the record.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from tslm.answers.grammar import remove_special_tokens, split_response
from tslm.evidence.words import COUNT_WORDS


class EcgKind(StrEnum):
    """What a claim is about."""

    RATE = "rate"
    COURSE = "course"  # of the rate over the record
    REGULARITY = "regularity"
    INTERVALS = "intervals"  # RR intervals in seconds
    EARLY = "early"
    PAUSE = "pause"
    BEATS = "beats"
    R_WAVE = "r_wave"


@dataclass(frozen=True)
class EcgClaim:
    """One statement about the record, found in the characters text[start:stop]."""

    kind: EcgKind
    measure: str  # what is compared: a row of tslm.explain.ecg_checks
    start: int
    stop: int
    word: str = ""  # such as regular, rises, over, longest, or a lead; empty: only figures
    value: float | None = None  # bpm, seconds, percent, millivolt or a count
    upper: float | None = None  # end of a range, or the second figure
    is_rough: bool = False  # "about"
    negated: bool = False


def read_ecg_claims(text: str) -> tuple[EcgClaim, ...]:
    """Parse the claims of a rationale in the order of the text, without what follows `Answer:`."""
    rest, _ = split_response(remove_special_tokens(text))
    claims = []
    for phrase in _PHRASES:
        claims += [_build_claim(phrase, match, rest) for match in phrase.pattern.finditer(rest)]
        rest = phrase.pattern.sub(lambda match: _READ * len(match[0]), rest)
    return tuple(sorted(claims, key=lambda claim: claim.start))


@dataclass(frozen=True)
class _Phrase:
    """One row of the grammar; the groups of its pattern are word, value, upper, about and unit."""

    kind: EcgKind
    measure: str
    pattern: re.Pattern[str]
    denied_by: re.Pattern[str] | None = None  # in the text before it


_READ = "\0"  # stands for each character that was read
_NO = r"(?:\b(?:not?|never|neither|nor|without|lacks|absence of|free of)\b|n't\b)"
_NOT_BEFORE = re.compile(rf"{_NO} (?:[a-z]+ )?$", re.IGNORECASE)  # "not very regular"
_NONE_BEFORE = re.compile(  # "no early beats, blocks or pauses"
    rf"{_NO}(?:(?!\b(?:but|and|with|however|yet|is|are)\b)[^.;:])*$", re.IGNORECASE
)
_DENIED_AFTER = re.compile(
    r":? (?:(?:is|are|was|were) )?(?:not (?:\w+ )?(?:seen|present|found|detected|evident)|absent|none)\b"
)
_PARTS = {
    "about": r"(?P<about>about |around |approximately |roughly |nearly |almost |~ ?)?",
    "value": r"(?<![\d.])(?P<value>\d+(?:\.\d+)?)",
    "upper": r"(?P<upper>\d+(?:\.\d+)?)",
    "number": r"(?:(?P<value>\d+|one|two|three|four|five|six|seven|eight|nine|ten) )?",
    "bpm_value": r"(?<![\d.])(?P<value>\d{2,3})",
    "bpm_upper": r"(?P<upper>\d{2,3})",
    "bpm": r"(?: ?bpm\b| (?:heart)?beats? (?:per|a) min(?:ute)?\b| ?beats?/min(?:ute)?\b| ?/ ?min\b)",
    "bare": r"(?![\d.]*\d)(?! ?(?:s|ms|sec\w*|mV|uV|%|samples|years?|kg|(?:heart)?beats)\b)",
    "s": r" ?(?P<unit>ms|milliseconds?|s|sec|seconds?)\b",
    "over": r"(?P<word>over|above|more than|greater than|higher than|faster than|longer than|exceeds|exceeding|"
    r"under|below|less than|lower than|slower than|shorter than)",
    "to": r"(?: to | and | ?[-\u2013] ?)",
    "rr": r"(?:R-?R(?: intervals?)?|(?<!PR )(?<!QT )(?<!QTc )intervals?)",
    "rate": r"(?:(?:heart|ventricular|pulse|mean|average) )*rate",
    "is": r"(?: is| are| was| were| of| at|:|,)?",
    "lead": r"(?:lead )?(?P<word>aV[RLF]|V[1-6]|I{1,3})\b",
}


def _phrase(kind: EcgKind, measure: str, pattern: str, denied_by: re.Pattern[str] | None = None) -> _Phrase:
    written = re.sub(r"(?<!P)<(\w+)>", lambda part: _PARTS[part[1]] if part[1] in _PARTS else part[0], pattern)
    return _Phrase(kind, measure, re.compile(written, re.IGNORECASE), denied_by)


_COURSE = "rises|falls|holds|goes|increases|decreases|drops|slows"
_STATE = "steady|constant|stable|rising|rises|falling|falls|increasing|increases|decreasing|decreases"
_EARLY_BEATS = (
    r"(?:early|premature|ectopic) (?:(?:atrial|ventricular|supraventricular) )*(?:beat|contraction|complex)(?:e?s)?"
)
_PHRASES = (
    _phrase(EcgKind.COURSE, "course", rf"\b(?P<word>{_COURSE}) from <about><bpm_value> to <bpm_upper>(?:<bpm>|<bare>)"),
    _phrase(EcgKind.COURSE, "course", rf"\brate (?:(?:is|stays|remains) )?(?P<word>{_STATE})\b"),
    _phrase(EcgKind.RATE, "rate", "<about><bpm_value><to><bpm_upper><bpm>"),
    _phrase(EcgKind.RATE, "rate", "<about>between <bpm_value> and <bpm_upper><bare>"),
    _phrase(EcgKind.RATE, "rate", r"\b<over> <bpm_value>(?:<bpm>|<bare>)"),
    _phrase(EcgKind.RATE, "rate", "<about><value><bpm>"),
    _phrase(EcgKind.RATE, "rate", r"\b<rate><is> <about><bpm_value><bare>"),
    _phrase(
        EcgKind.RATE, "rate_class", r"\brate(?: is)?(?: within| in)?(?: the)? (?P<word>slow|normal|fast)\b", _NOT_BEFORE
    ),
    _phrase(EcgKind.RATE, "rate_class", r"\b(?P<word>slow|normal|fast|rapid) <rate>", _NOT_BEFORE),
    _phrase(EcgKind.RATE, "rate_class", r"\b(?P<word>bradycardi|tachycardi)(?:a|c)\b", _NONE_BEFORE),
    _phrase(
        EcgKind.REGULARITY, "variation", r"\bvar(?:y|ies|iation|iability)<is>(?: by)? <about><value> ?(?:%|percent)"
    ),
    _phrase(
        EcgKind.INTERVALS,
        "rr_range",
        r"\b<rr> (?:run|range|vary|lie|go|are)s? (?:from|between) <about><value>(?: ?m?s)?<to><upper><s>",
    ),
    _phrase(
        EcgKind.INTERVALS,
        "rr",
        r"\b(?P<word>median|mean|average|shortest|longest)(?: <rr>)?<is> <about><value><s>",
    ),
    _phrase(EcgKind.INTERVALS, "rr", r"\bR-?R intervals?<is> <about><value><s>"),
    _phrase(EcgKind.PAUSE, "longest", r"\bpauses? (?:(?:of|lasting|that is|is) )?<over> <value><s>", _NONE_BEFORE),
    _phrase(EcgKind.PAUSE, "longest", r"\b<over> (?P<value>[1-9](?:\.\d+)?)<s>"),
    _phrase(EcgKind.PAUSE, "pause_of", r"\bpause (?:of|lasting) <about><value><s>"),
    _phrase(EcgKind.PAUSE, "pause_count", r"\b<number>(?:(?:long|sinus) )*pauses?\b", _NONE_BEFORE),
    _phrase(EcgKind.EARLY, "early_count", r"\bfar below\b", _NOT_BEFORE),
    _phrase(
        EcgKind.EARLY, "early_count", rf"\b<number>(?:{_EARLY_BEATS}|PVCs?|PACs?|extrasystoles?|ectopy)\b", _NONE_BEFORE
    ),
    _phrase(EcgKind.REGULARITY, "regularity", r"\b(?P<word>(?:ir)?regular)(?:ly)?\b(?! (?:P|QRS|T)\b)", _NOT_BEFORE),
    _phrase(EcgKind.REGULARITY, "regularity", r"\b(?:is|are) (?P<word>(?:un)?even)(?! (?:though|if|more|less)\b)\b"),
    _phrase(EcgKind.REGULARITY, "regularity", r"\b(?P<word>(?:un)?even)ly\b", _NOT_BEFORE),
    _phrase(EcgKind.BEATS, "beat_count", r"<about><value> (?:heart ?)?beats?\b"),
    _phrase(EcgKind.R_WAVE, "r_height", "<about><value> ?mV in <lead>"),
    _phrase(EcgKind.R_WAVE, "tallest", r"\btallest (?:R waves? )?(?:(?:is|stands) )?in <lead>"),
)
_NUMBER_OF = {word: float(number) for number, word in enumerate(COUNT_WORDS)}


def _build_claim(phrase: _Phrase, match: re.Match[str], text: str) -> EcgClaim:
    groups = match.groupdict()
    scale = 0.001 if (groups.get("unit") or "").lower().startswith("m") else 1.0
    value, upper = (_read_number(groups.get(name), scale) for name in ("value", "upper"))
    is_denied = phrase.denied_by is not None and bool(
        phrase.denied_by.search(text[: match.start()]) or _DENIED_AFTER.match(text[match.end() :].lower())
    )
    word, is_rough = (groups.get("word") or "").lower(), bool(groups.get("about"))
    return EcgClaim(phrase.kind, phrase.measure, match.start(), match.end(), word, value, upper, is_rough, is_denied)


def _read_number(written: str | None, scale: float) -> float | None:
    if written is None:
        return None
    number = _NUMBER_OF.get(written.lower())
    return scale * (float(written) if number is None else number)
