"""Names of channels: the role of a channel and its electrodes, in the spellings of recorders, laboratories and cohorts.

The two tables below are the only place that knows synonyms. A row of _OTHER_CHANNELS is looked for anywhere in a name
and comes first, so that "EMG Left Leg" is no chin and "EEG Snore" no EEG. A row of _ELECTRODES must fit a whole lead,
from which spaces and signs are removed: "EOG (L)", "EOG-L" and "eogl" are one spelling. A derivation is two leads with
a sign between them, or none: "C4-M1", "EEG C4:A1", "C4_M1", "C4A1". A1 and A2, the ears of older montages, are called
M1 and M2, the mastoids, as in the AASM manual.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

ROLES = ("eeg", "eog", "emg", "other")
MASTOIDS = ("M1", "M2")
LINKED = "linked"  # mean of both ears or mastoids
UNSTATED = "?"  # a reference is named, but not where it lies
REGIONS = ("frontal", "central", "parietal", "occipital", "temporal")

_SITE = r"(?:fp|af|fc|ft|cp|tp|po|[fctpo])(?:z|10|[1-9])"
_HORIZONTAL = r"(?:hori?z?\w*)?(?:off)?"
_CHIN = r"(?:chin|submental\w*|subment|m(?:ental\w*|ent))"

# Role, electrode as it is called here, spellings of one lead. Group 1, where there is one, is added to the electrode.
_ELECTRODES: tuple[tuple[str, str, str], ...] = (
    ("eeg", "M1", r"(?:eeg)?[am]1"),
    ("eeg", "M2", r"(?:eeg)?[am]2"),
    ("eeg", LINKED, r"(?:eeg)?(?:[am]1\+?[am]2|[am]2\+?[am]1|lm|le|ler|cle)"),
    ("eeg", "", rf"(?:eeg)?({_SITE})(?:eeg)?"),
    ("eog", "E1", r"(?:eeg|eog)*(?:e1|loc|leo[gc])x?"),
    ("eog", "E2", r"(?:eeg|eog)*(?:e2|roc|reo[gc])x?"),
    ("eog", "E1", rf"h?(?:eog)+h?(?:left|li|l|1){_HORIZONTAL}|(?:left|l)eog|(?:left|lt?)eye\w*|eyel(?:eft)?"),
    ("eog", "E2", rf"h?(?:eog)+h?(?:right|re|r|2){_HORIZONTAL}|(?:right|r)eog|(?:right|rt?)eye\w*|eyer(?:ight)?"),
    ("eog", "HEOG", r"heog|eogh|eog(?:au)?hor\w*|horiz\w*eog"),
    ("eog", "VEOG", r"veog\w?|eogv|eog\w*vert\w*|vert\w*eog|eog(?:up|low)\w*|eye(?:up|down)"),
    ("emg", "Chin", rf"(?:emg|eeg|unspec)*{_CHIN}(?:emg)?(\d|ctr|z|a|left|right|l|r)?(?:emg)?"),
    ("emg", "Chin", r"(?:emg)?(left|right|l|r|c)chin(?:emg|l)?|emgsm"),
    ("emg", "EMG", r"emg(?:ch)?(\d*)"),
)
# What a channel records that is read as neither EEG, EOG nor chin EMG, and how its name shows it ("_" is a space).
_OTHER_CHANNELS: tuple[tuple[str, str], ...] = (
    ("impedance", r"imp[eé]dan|\bimp\b"),
    ("ECG", r"e[ck]g"),
    ("leg EMG", r"leg|jambe|\btib|\bplm|limb|gastroc"),
    ("leg EMG", r"^(?:emg[ -]?)?(?:[lr]/)?[lr][ -]?at\d?(?:[ /-]?(?:[lr]?at\d?|[ul+-]))?$"),
    ("EMG of another muscle", r"(?<!al)arm\d?(?![a-z])|intercost|diaphr|masset|biceps|extensor|flexor|\bedb\b|\bfds\b"),
    ("oxygen saturation", r"s[pa]?o2|osat|satur|oxim|o2 ?sat|\box(?: ?stat\w*)?\b"),
    ("carbon dioxide", r"co2|capno"),
    ("pulse", r"pulse?|pleth|heart|\b(?:d?h\.?r\.?(?:ate)?|pr|ppg|ptt|pwa|bpm)(?![a-z])"),
    ("snoring or sound", r"snor|sound|audio|\bmic\b|microphone|volume"),
    ("breathing", r"flow|resp|therm|nasal|\bnas\b|cannul|c?pap\b|ptaf|\bc?(?:press?|pressure)\b|pneum|mouth"),
    ("breathing", r"leak|tidal|\bair\b|\brip\b|abdo|\babd\b|thor|\bthx\b|chest|effort|\brib|\bsum\b|induct|\bic\b"),
    ("position or movement", r"posit|\bpos(?:angle)?\b|body|activity|acti[gw]|gyro|motion"),
    ("position or movement", r"\bacc(?:el\w*)?(?: ?[xyz])?\b|\b[xyz][ -]?axis|elevation|gravity|movement"),
    ("light", r"light|\blux\b"),
    ("temperature", r"\btemp\b|temperat|rectal"),
    ("events", r"event|marker|trigger|\btrig|stat(?:us)?\b|annot|button|\bsti\b"),
    ("recorder", r"batter|volt|bluetoo|\bdc ?\d|clock|\btime\b|sync|quality|rssi"),
)
_NOX_CHIN = re.compile(r"(1) ?- ?(2|f)|(2) ?- ?(f)")  # the Nox recorders call the leads of the chin 1, 2 and F
_REFERENCE_WORDS = re.compile(r"x|ref\w*|avg|average|car|gnd|com(?:mon)?")
_REGION_OF_SITE = {"f": "frontal", "a": "frontal", "c": "central", "p": "parietal", "o": "occipital", "t": "temporal"}
_REGION_WORD = re.compile(
    r"(?:left|right|l|r)?(?:eeg|ecog|lfp)?(front|centr|pariet|occip|tempor)(?:al)?(?:eeg|ecog|lfp|left|right|[lr\d])*"
)
_REGION_LETTER = re.compile(r"(?:eeg|ecog|lfp)([fpo])\w?")
_EEG = re.compile(r"eeg|ecog|lfp|hippocamp")
_NUMBER = re.compile(r"(?:eeg|ecog|lfp)(?:ch(?:an(?:nel)?)?)?(\d+)")
_SEPARATOR = re.compile(r"[-:/_]")
_EYES: Mapping[frozenset[str], str] = {
    frozenset(("E1", "E2")): "both eyes",
    frozenset(("E1",)): "left eye",
    frozenset(("E2",)): "right eye",
    frozenset(("HEOG",)): "horizontal",
    frozenset(("VEOG",)): "vertical",
}
_VARIABLE = re.compile(r"^\w{3,}\.(?=\w)")  # "data.EEG" is the field EEG of a MATLAB structure
_SIGNS = re.compile(r"[\s_().:/-]")


@dataclass(frozen=True)
class ChannelName:
    """What the name of a channel says.

    Attributes:
        role: one of ROLES; "other" is what is neither EEG, EOG nor an EMG that shows the tone of the chin.
        plus: electrode ("F4", "E1", "Chin1", "EMG2"); empty where the name does not say.
        minus: its reference ("M1", "Cz", LINKED, UNSTATED); empty where the name does not say.
        region: of an EEG, one of REGIONS; empty where the name does not say.
        number: of an EEG without a site: 2 of "EEG2" and "EEG(sec)"; 0 without one.
        what: what an "other" channel records; empty where the name is unknown.
    """

    role: str
    plus: str = ""
    minus: str = ""
    region: str = ""
    number: int = 0
    what: str = ""

    @property
    def is_reference(self) -> bool:
        """Whether it is an ear or a mastoid, to which others are referenced."""
        return self.role == "eeg" and self.plus in (*MASTOIDS, LINKED)

    @property
    def is_chin(self) -> bool:
        """Whether it is an EMG of the chin by its name."""
        return self.role == "emg" and self.plus.startswith("Chin")

    @property
    def place(self) -> str:
        """Where it is recorded, in a word or two."""
        if self.role == "eeg":
            return "reference electrode" if self.is_reference else self.region or "site not stated"
        if self.role == "eog":
            return _EYES.get(frozenset((self.plus, self.minus)), _EYES.get(frozenset((self.plus,)), "eye not stated"))
        return "chin" if self.is_chin else "muscle not stated"

    def describe(self) -> str:
        """Role and place, or what an "other" channel records."""
        return self.what or "unknown" if self.role == "other" else f"{self.role.upper()}, {self.place}"


def read_channel_name(name: str) -> ChannelName:
    """What the name of a channel says; case, spaces and signs do not matter."""
    text = _VARIABLE.sub("", " ".join(name.split()).casefold())
    if nox := _NOX_CHIN.fullmatch(text):
        plus, minus = filter(None, nox.groups())
        return ChannelName("emg", f"Chin{plus}", f"Chin{minus.upper()}")
    spaced = text.replace("_", " ")
    if what := next((what for what, pattern in _OTHER_CHANNELS if re.search(pattern, spaced)), ""):
        return ChannelName("other", what=what)
    if lead := _read_lead(text):
        return _build_name(*lead)
    for left, right in _split(text):
        lead, reference = _read_lead(left), _read_reference(right)
        if lead and reference:
            return _build_name(*lead, reference)
    return _read_without_electrodes(_squeeze(text))


def _build_name(role: str, plus: str, minus: str = "") -> ChannelName:
    is_site = role == "eeg" and plus not in (*MASTOIDS, LINKED)
    return ChannelName(role, plus, minus, _REGION_OF_SITE[plus[0].lower()] if is_site else "")


def _read_lead(text: str) -> tuple[str, str] | None:
    """Role and electrode of one lead."""
    squeezed = _squeeze(text)
    for role, electrode, pattern in _ELECTRODES:
        if match := re.fullmatch(pattern, squeezed):
            added = (match[1] if match.re.groups else "") or ""
            suffix = added if added.isdigit() else added[:1].upper()
            return role, electrode + suffix if electrode else _spell_site(added)
    return None


def _spell_site(site: str) -> str:
    """Usual letters of a site of the 10-20 system: "Fpz", "AF3", "Cz"."""
    letters = site.rstrip("z0123456789")
    return ("Fp" if letters == "fp" else letters.upper()) + site[len(letters) :]


def _read_reference(text: str) -> str:
    """Electrode of a reference; UNSTATED where it has a name but no site; empty where it is no reference."""
    lead = _read_lead(text)
    return lead[1] if lead else UNSTATED * bool(_REFERENCE_WORDS.fullmatch(_squeeze(text)))


def _split(text: str) -> list[tuple[str, str]]:
    """The ways to cut a name into two leads: at its signs first, then between any two letters."""
    cuts = [(match.start(), match.end()) for match in _SEPARATOR.finditer(text)]
    cuts += [(idx, idx) for idx in range(1, len(text))]
    return [(text[:start], text[stop:]) for start, stop in cuts]


def _read_without_electrodes(squeezed: str) -> ChannelName:
    """A channel whose name tells its role at most."""
    if "eog" in squeezed:
        return ChannelName("eog")
    if "emg" in squeezed or re.search(r"nuchal|neck|trapez", squeezed):
        return ChannelName("emg", "Chin" if re.search(r"chin|mental", squeezed) else "")
    region = _REGION_WORD.fullmatch(squeezed) or _REGION_LETTER.fullmatch(squeezed)
    if region or _EEG.search(squeezed):
        number = _NUMBER.search(squeezed)
        return ChannelName(
            "eeg",
            region=_REGION_OF_SITE[region[1][0]] if region else "",
            number=int(number[1]) if number else 2 * ("sec" in squeezed),
        )
    return ChannelName("other")


def _squeeze(text: str) -> str:
    return _SIGNS.sub("", text)
