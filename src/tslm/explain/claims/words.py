"""Words for an EEG epoch in rationales: one table of patterns, and the tokens that it finds in a text.

Rows are (kind, value, pattern) and the first that fits at the start of a word wins, so longer
phrases stand before their parts. Patterns match text after `fold`: lower case, plain dashes.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBER_WORDS = {word: float(number) for number, word in enumerate(_NUMBERS)}
PART_WORDS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
LEVEL_WORDS = ("low", "moderate", "high", "very high")


class Token(NamedTuple):
    """One word or phrase of the table, at text[start:stop]."""

    kind: str
    value: str
    start: int
    stop: int
    text: str


_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = rf"(?:between {_NUMBER} and )?{_NUMBER}(?: ?(?:-|to) ?{_NUMBER})?"
_S = r"(?:s|secs?|seconds?)"
_TIMES = rf"(?:{_NUMBER}(?: ?{_S})?(?:, and|,| and) )*{_NUMBER}"  # "4 s and 17", "4, 9 and 17"
_ROUGHLY = r"(?:about|around|roughly|approximately|nearly|close to|near|some)"
_COUNT = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+(?!\.?\d))"
_WAVES = (
    r"(?:waves?|oscillations?|activity|patterns?|components?|waveforms?|rhythms?|fluctuations?|bursts?|deflections?)"
)
_AFTER_BAND = rf"(?:[- ](?:band|range|wave))?(?: (?:{_WAVES}|power|frequenc(?:y|ies)))?(?: \({_RANGE} ?hz\))?"
_VOLTAGE = r"(?:amplitudes?|voltages?)"
_HIGH = r"(?:high(?:er)?|large(?:r)?)"
_SLOW = r"(?:slow(?:er)?(?:[- ]wave|[- ]frequency)?|low(?:er)?[- ]frequency|synchroni[sz]ed)"
_SLOW_NOUN = rf"(?: delta)?(?: \w+ed)?(?: frequenc(?:y|ies))?(?: {_WAVES})?"
_JOIN = r"(?:,? and|,)?"
_SLEEP_KIND = (
    r"(?:slow[- ]wave|deep(?:er|est)?|light(?:er)?|non-?rem|nrem|rem|rapid[- ]eye[- ]movement|paradoxical"
    r"|transitional|quiet|active|stage \w+)"
)

_WORDS: tuple[tuple[str, str, str], ...] = (
    # places in the epoch, before figures
    ("at", "about", rf"at {_ROUGHLY} {_TIMES} ?{_S}"),
    ("at", "", rf"at (?:{_TIMES} ?{_S}|seconds? {_TIMES})(?! (?:intervals?|long))"),
    (
        "at",
        "",
        rf"{_NUMBER} ?{_S} (?:into|after the (?:start|onset) of) (?:the |this )?(?:epoch|trace|record\w*|window)",
    ),
    ("span", "", rf"(?:from|at) {_NUMBER}(?: ?{_S})? ?(?:-|to|until|through) ?{_NUMBER} ?{_S}"),
    # figures
    ("percent", "", rf"{_RANGE} ?(?:%|percent|per cent)"),
    ("uv", "", rf"{_RANGE} ?(?:uv|microvolts?)"),
    ("hz", "", rf"{_RANGE} ?(?:hz|hertz)"),
    ("per_minute", "", rf"{_RANGE} ?(?:per|a|/) ?min(?:ute)?"),
    ("times", "", rf"{_RANGE} times(?: (?:its|the \w+'s|the) median)?"),
    ("seconds", "", rf"{_RANGE}[- ]?(?:s|sec|seconds?)"),
    # stages, before the waves that some are named after
    ("stage", "", rf"{_SLEEP_KIND} (?:\w+ )?sleep(?:ing)?(?: stages?| phases?)?"),
    ("stage", "", r"(?:(?:non-?rem|nrem|rem|sleep)[ -])?stages? (?:[1-4]|n[1-3]|w|r|one|two|three|four|i{1,3}|iv)"),
    ("stage", "", r"n[1-3]|non-?rem|nrem|rem|wakefulness|wakeful(?: \w+)?|awake|wake|drowsiness|sleep onset"),
    ("stage", "", r"(?:(?:sleep|deeper|lighter|other|certain|particular|specific) )*(?:stages?|phases?)(?: of sleep)?"),
    ("stage", "", r"(?:this|that) (?:\w+ )?state|state (?=that|where|in which|characteri)"),
    # features
    ("term", "rms", rf"(?:rms|root[- ]mean[- ]square)(?: (?:{_VOLTAGE}|value))?"),
    ("term", "peak_to_peak", rf"(?:peak[- ]to[- ]peak|p-p|p2p)(?: (?:{_VOLTAGE}|range|value))?"),
    ("term", "peak_frequency", r"(?:dominant|main)(?: \w+)? rhythm(?= (?:(?:is|of|at|near|around|about) )*\d)"),
    ("term", "mixed", rf"(?:mixed|varied|various)[- ]frequenc(?:y|ies)(?: {_WAVES})?|mixed(?=[,.])|lamf"),
    ("term", "k_complexes", r"k[- ]?complex(?:es)?|kcs?"),
    ("term", "recent_waves", r"recent spindles(?: (?:or|and) k-?complexes)?"),
    ("term", "spindle_density", r"(?:sleep )?spindle (?:density|rate)"),
    ("term", "spindle_duration", r"(?:sleep )?spindle (?:duration|length)"),
    ("term", "spindles", r"(?:sleep[- ])?spindles?(?:-like)?(?: (?:activity|bursts?|waves?|events?))?"),
    ("term", "sawtooth", rf"saw-?tooth(?:[- ]wave)?(?: {_WAVES})*"),
    ("term", "vertex", r"vertex(?: sharp)?(?: waves?| transients?)?"),
    ("state", "eye_movements yes", r"moving eyes|eyes (?:moving|move|are moving|moved)"),
    (
        "state",
        "eye_movements no",
        r"eyes (?:rest|still|at rest|(?:are|stay|remain|were) (?:still|quiet|at rest))|(?:still|quiet) eyes",
    ),
    (
        "term",
        "eye_movements",
        r"(?:eye|ocular)[- ]movements?(?: art[ei]facts?| activity)?|(?:eye[- ]?)?blink(?:s|ing)?",
    ),
    ("term", "eye_movements", r"(?:rapid|slow|rolling|slow[- ]rolling) eye[- ]movements?(?: art[ei]facts?| activity)?"),
    ("term", "eye_movements", r"rapid and \w+ eye movements?|eog (?:activity|deflections?)|rems"),
    ("state", "muscle_tone low", r"(?:muscle )?aton(?:ia|ic)|(?:loss|lack|absence) of muscle tone|quiet emg"),
    ("state", "muscle_tone low", r"(?:muscles? (?:is|are)|chin (?:is|looks)) (?:relaxed|slack|limp)"),
    ("state", "muscle_tone high", r"(?:muscles? (?:is|are)|chin (?:is|looks)) (?:tense|tight)"),
    ("term", "muscle_tone", r"(?:muscle|muscular|emg|chin(?: emg)?)[- ](?:tone|tension|level)|chin emg"),
    ("term", "muscle_tone", r"emg(?= (?:is|at|stays|lies|looks|remains|tone))"),
    ("term", "muscle_tone", r"tone"),
    ("term", "muscle", r"(?:muscle|muscular|emg|myogenic)(?: (?:activity|art[ei]facts?|contamination|noise|bursts?))?"),
    (
        "state",
        "artefact no",
        r"art[ei]fact-free|clean (?:signal|recording|epoch|trace|eeg)|uncontaminated|clean(?= ?(?:[,.;]|$))",
    ),
    ("state", "artefact no", r"(?:the )?(?:signal|recording|epoch|trace) (?:is|stays|was) clean"),
    ("term", "artefact", r"(?:(?:movement|motion|electrode|recording) )?art[ei]facts?|signal loss|clipping|saturation"),
    ("term", "artefact", r"(?:part is )?(?:flat or clipped|clipped or flat)(?: parts?| stretches| seconds)?"),
    ("term", "slow_waves", rf"(?:synchroni[sz]ed,? )?{_HIGH}[- ]{_VOLTAGE}{_JOIN} (?:relatively )?{_SLOW}{_SLOW_NOUN}"),
    ("term", "slow_waves", rf"{_HIGH}[- ]{_VOLTAGE} delta {_WAVES}"),
    ("term", "slow_waves", rf"{_HIGH}[- ]{_VOLTAGE} {_WAVES} (?:with|of|at) (?:a )?low(?:er)?[- ]frequenc(?:y|ies)"),
    (
        "term",
        "slow_waves",
        rf"{_WAVES} (?:is|are) (?:\w+ly )?slow(?:er)? and (?:of |in )?(?:\w+ly )?{_HIGH}(?: (?:in )?{_VOLTAGE})?",
    ),
    ("term", "slow_waves", r"swa"),
    ("term", "slow_waves", rf"{_HIGH},? (?:{_SLOW},? )?(?:{_SLOW}|delta)(?: \w+ed)? {_WAVES}"),
    ("term", "slow_waves", rf"{_SLOW}{_JOIN} {_HIGH}(?:[- ]{_VOLTAGE})? {_WAVES}"),
    (
        "term",
        "slow_waves",
        rf"slow[- ]?waves?(?: {_WAVES})?(?: \((?:delta(?: \w+)?|high amplitude|large amplitude)\))?",
    ),
    ("term", "slow_waves", rf"slow(?:er)?{_JOIN} (?:synchroni[sz]ed|rhythmic|regular|brain) {_WAVES}"),
    ("term", "amplitude", rf"{_VOLTAGE}(?: {_WAVES})?"),
    ("term", "delta", rf"delta{_AFTER_BAND}"),
    ("term", "delta", rf"{_WAVES} (?:is|are) (?:\w+ly )?slow(?:er)?"),
    ("term", "delta", r"slow(?:er)? (?:oscillations?|activity|waveforms?|rhythms?|fluctuations?)"),
    ("term", "delta", rf"low(?:er)?[- ]frequenc(?:y|ies)(?: {_WAVES})?"),
    ("term", "theta", rf"theta{_AFTER_BAND}"),
    ("term", "alpha", rf"alpha{_AFTER_BAND}"),
    ("term", "sigma", rf"sigma{_AFTER_BAND}"),
    ("term", "beta", rf"beta{_AFTER_BAND}|(?:high(?:er)?|fast(?:er)?)[- ]frequenc(?:y|ies)(?: (?:of )?{_WAVES})?"),
    ("term", "beta", rf"(?:fast(?:er)?|rapid)(?:,| and|, and)?(?: \w+)? (?:{_WAVES}|changes|shifts)"),
    ("term", "beta", rf"{_WAVES} (?:is|are) (?:\w+ly )?(?:fast(?:er)?|rapid)"),
    ("term", "beta", r"(?:fast|rapid)(?=,? (?:and )?(?:mixed|low(?:er)?[- ](?:voltage|amplitude)))"),
    ("term", "gamma", rf"gamma{_AFTER_BAND}"),
    ("signal", "", r"(?:(?:the|this|observed|raw) )*(?:signal|epoch|eeg|recording|trace|data|segment|time[- ]series)"),
    ("signal", "", r"it|here"),
    ("lasting", "", r"lasting|lasts?|lasted|long|duration"),
    # presence and denial
    (
        "contrast",
        "",
        r"over(?= (?:the )?(?:delta|theta|alpha|sigma|beta))|(?:obscure|hide|mask)s?|(?:obscuring|hiding|masking)",
    ),
    ("hedge", "", r"(?:unclear|not clear|doubtful|uncertain) (?:whether|if)|interpreted as|taken (?:for|as)"),
    ("plain", "", r"not (?:only|uncommon\w*)|no longer|as well as|as if|at the same time"),
    ("example", "", r"such as|including"),
    ("modal", "", r"(?:can ?not|not) (?:be )?(?:excluded|ruled out)"),
    (
        "few",
        "",
        r"(?:hardly|barely|scarcely|next to|almost|virtually) (?:any|no|an?)(?: trace of)?"
        r"|less (?:pronounced|prominent)",
    ),
    (
        "few",
        "",
        r"few|little|rare(?:ly)?|scarce|sparse|scant|minimal(?:ly)?|limited|negligible|reduced"
        r"|weak(?:er)?(?: still)?|diminished",
    ),
    ("few", "", r"(?:reduction|decrease|decline) (?:in|of)"),
    ("neg", "verb", r"(?:do|does|did|is|are|was|were|could|can|has|have)(?:n't| not)|cannot|not|never|fails? to"),
    ("neg", "nor", r"nor"),
    (
        "neg",
        "list",
        r"(?:without|lack(?:s|ing)?|lack of|absence of|devoid of|free (?:of|from)|neither|replac(?:es?|ing))(?: any)?",
    ),
    ("neg", "one", r"no|zero|none of the"),
    ("gone", "", r"absent|missing|none|nil|negative|(?:is|are|was|were) lost(?! in)|ruled out|excluded"),
    ("prominent", "", r"prominent(?:ly)?|pronounced|significant|marked|notable|stands? out|standing out"),
    ("many", "", r"many|much|plenty of|abundant|abundance of|numerous|plentiful|rich in|full of"),
    ("several", "", r"several|multiple|repeated(?:ly)?|frequent|more than one|a number of|(?:trains?|runs?) of"),
    ("sometimes", "", r"at times|intermittent(?:ly)?|occasional(?:ly)?|sporadic(?:ally)?|now and then|in places"),
    ("sometimes", "", r"part of the time|from time to time|comes? and goes?|waxes and wanes"),
    # amounts
    ("level", "very high", r"(?:very|extremely) (?:high|large)"),
    ("level", "low", r"(?:very )?(?:low(?:er|ered)?|small(?:er)?)|modest"),
    ("level", "moderate", r"moderate(?:ly)?|medium|intermediate|normal"),
    ("level", "high", r"high(?:er)?|large(?:r)?|elevated|increased"),
    ("lead", "", r"dominant (?:frequency|rhythm|activity)(?:/\w+)?(?: is|:)(?! [\d.]+ ?hz)"),
    ("term", "peak_frequency", r"(?:dominant|peak|main) frequency|(?:spectral )?peaks?(?= (?:at|near|of|around|lies))"),
    (
        "lead",
        "",
        r"lead(?:s|ing)?|led by|in the lead|(?:pre)?dominat\w+|(?:pre)?dominan\w+|prevail\w*|prevalen\w+|strongest",
    ),
    ("lead", "", r"(?:primarily|mainly|mostly|chiefly|largely)(?! (?:absent|missing|free))|(?:comes? )?first"),
    ("lead", "", r"most of the (?:spectral )?power"),
    (
        "second",
        "",
        r"then|followed by|(?:comes? )?(?:second|next)(?:[- ](?:strongest|largest|highest))?"
        r"|ahead of|trailed by|in front of",
    ),
    ("count", "over ten", r"over (?:ten|10)"),
    ("more", "", r"over|(?:more|greater|larger) than|above|past|pass(?:es|ing)?|exceed(?:s|ed|ing)?|at least|beyond"),
    ("more", "", r"reach(?:es|ed|ing)?|no less than"),
    ("less", "", r"under|(?:less|fewer|smaller|lower|no more) than|below|at most|short of|up to"),
    ("about", "", r"about|around|roughly|approx(?:\.|imately)?|nearly|close to|near|some(?= \d)"),
    ("part", "", r"(?:(?:a|one|two|three)[- ])?(?:half|halves|third|quarter|fifth|tenth)s?"),
    ("power", "", r"of (?:the |its )?(?:total |spectral |band )*(?:power|spectrum)|share of power"),
    ("time", "", r"in(?= (?:\d|a |over|under|more|less|about|half|two|three))"),
    ("time", "", r"of (?:the |this )?(?:time|epoch|window|interval|segment)|the (?:time|epoch|window)"),
    ("count", "", r"x ?\d+"),
    ("count", "", rf"(?:a|only one|one)? ?single|{_COUNT}(?:(?: to | or |-){_COUNT})?"),
    # waves of no named kind, which no column measures
    ("noun", "", r"spikes?|peaks?|troughs?|deflections?|changes|shifts|irregularit(?:y|ies)|bursts? of activity"),
    ("noun", "", r"the (?:rest|others?|remainder)"),
    # certainty and contrast
    ("generic", "", r"typical(?:ly)?|characteristic(?: of)?|usual(?:ly)?|common(?:ly)?|generally|often|normally"),
    ("generic", "", r"would|should|expect(?:ed)?|hallmarks?|known for|if|unless|whether|defines?|defining|requires?"),
    ("marks", "", r"(?:characteri[sz]ed|marked|defined|distinguished|accompanied) by"),
    (
        "contrast",
        "",
        r"rather than|instead of|in place of|as opposed to|in contrast (?:to|with)"
        r"|contrast(?:s|ing)? with|compared (?:to|with)|unlike|versus|than",
    ),
    ("contrast", "", r"(?:also|often|sometimes) (?:called|known as|referred to as)"),
    ("hedge", "", r"suggest\w*|indicates?|indicating|indicated|indicative of|indications? of|consistent with"),
    ("hedge", "", r"hint(?:s|ing)?(?: of| at)?|impl(?:y|ies|ying)|reflect(?:s|ing)?|resembl\w+|some|tendency towards?"),
    ("modal", "", r"may|might|could|possibl[ey]|perhaps|probabl[ey]|likely|seems?|appears? to|apparently"),
    ("modal", "", r"appears?(?= (?:elevated|increased|high|low|reduced|moderate|normal|absent|dominant))"),
    ("modal", "", r"doubtful|uncertain|unclear|equivocal|subtle|faint(?:ly)?|questionable|suspected"),
    ("these", "", r"these|those|such"),
    ("verb", "", r"(?:show|exhibit|display|demonstrate|reveal|contain|feature|carry|present with)(?:s|ing)?"),
    ("verb", "has", r"has|have"),
    ("verb", "", r"carries|presence of|evidence of|there (?:is|are)"),
    ("seen", "", r"present|seen|evident|visible|observed|noted|detected|found|recorded|discernible|noticeable"),
    ("seen", "", r"apparent|occur(?:s|red)?|counted|identified|appear(?:s|ed)?"),
    # separators
    ("clause", "relative", r"which|that|where|when|in which|who"),
    ("clause", "", r"but|while|whereas|although|though|however|yet|because|since|instead|despite|even"),
    ("with", "", r"with|alongside|along with|plus|in addition to|besides?|against a background of"),
    ("and", "", r"and|together with"),
    ("or", "", r"or"),
)
_MARKS: tuple[tuple[str, str, str], ...] = (
    ("stop", "", r"[.!?](?=\s|$)|[;\n]"),
    ("comma", ":", r":"),
    ("comma", "", r"[,()]|(?<=\s)-(?=\s)"),
    ("more", "", r"[>\u2265]"),
    ("less", "", r"[<\u2264]"),
    ("or", "", r"/"),
    ("and", "", r"&"),
)
_MARK = re.compile("|".join(f"({pattern})" for _, _, pattern in _MARKS))
_START = re.compile(r"(?<!\w)\w+|[^\w ]|\n")
_KEY_LENGTH = 3
# Literal letters of patterns; a row can only match a word that begins with one of them.
_LITERALS = [re.findall("[a-z]+", re.sub(r"\\.|\[[^\]]*\]", " ", pattern)) for _, _, pattern in _WORDS]


@lru_cache(maxsize=4096)
def _rows_for(key: str) -> tuple[re.Pattern[str], tuple[int, ...]]:
    """The rows that may match a word which begins with `key`, as one pattern: far fewer to try than all."""
    rows = tuple(
        row
        for row, literals in enumerate(_LITERALS)
        if key[:1].isdigit() or any(word.startswith(key) or key.startswith(word) for word in literals)
    )
    return re.compile(rf"(?:{'|'.join(f'({_WORDS[row][2]})' for row in rows)})(?!\w)"), rows


CITED_RULE = re.compile(r"\((?:rule )?(\d\.[a-f]|rodent \d|joined)\)")  # of a folded text
_FOLD = {
    **{ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **dict.fromkeys(range(0x2010, 0x2016), "-"),
    **dict.fromkeys(map(ord, "*_`\u00a0\u202f\u2009"), " "),
    0x2212: "-",
    0x00B5: "u",
    0x03BC: "u",
    0x2019: "'",
}


def fold(text: str) -> str:
    """The text in small letters, with plain dashes and spaces and without markdown, character for character."""
    return text.translate(_FOLD)


def blank_rules(folded: str) -> str:
    """A folded text with spaces for the rules that it cites in brackets, such as "(6.b)"."""
    return CITED_RULE.sub(lambda cited: " " * len(cited.group()), folded)


def find_tokens(text: str) -> list[Token]:
    """Tokens of a text in order; words that are not in the table are left out, and so are cited rules."""
    folded = blank_rules(fold(text))
    tokens = []
    stop = 0
    for start_match in _START.finditer(folded):
        start = start_match.start()
        if start < stop:
            continue
        word = start_match.group()
        if word[0].isalnum():
            pattern, rows = _rows_for(word[:_KEY_LENGTH])
            match = pattern.match(folded, start) if rows else None
            row = _WORDS[rows[match.lastindex - 1]] if match and match.lastindex else None
        else:
            match = _MARK.match(folded, start)
            row = _MARKS[match.lastindex - 1] if match and match.lastindex else None
        if match and row:
            stop = match.end()
            tokens.append(Token(row[0], row[1], start, stop, match.group()))
    return tokens


def read_range(text: str) -> tuple[float, float]:
    """(lowest, highest) of a figure such as "23 uv", "20-30 %", "two to three" or "a single"."""
    numbers = [float(number) for number in re.findall(_NUMBER, text)]
    numbers += [NUMBER_WORDS[word] for word in re.findall(r"[a-z]+", text) if word in NUMBER_WORDS]
    return (min(numbers), max(numbers)) if numbers else (1.0, 1.0)


def read_times(text: str) -> tuple[float, ...]:
    """All times of a list such as "at 4 s, 9 s and 17 s"."""
    return tuple(float(number) for number in re.findall(_NUMBER, text))


def read_part(text: str) -> float:
    """A part of a whole in words as a number: "a fifth" is 0.2, "two thirds" 2/3."""
    *number, name = re.split(r"[- ]", text)
    return NUMBER_WORDS.get("".join(number), 1.0) / PART_WORDS[name if name in PART_WORDS else name.removesuffix("s")]
