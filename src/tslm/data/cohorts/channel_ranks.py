"""Ranks of recorded channels for a channel that a model was trained on: the lower, the closer.

A person who reads a polysomnogram has such an order in mind; `tslm.data.cohorts.channel_choice` follows it.
"""

from collections.abc import Mapping

from tslm.signals.channel_names import LINKED, MASTOIDS, REGIONS, ChannelName, read_channel_name

EYES = ("E1", "E2")
# Regions in the order of their distance from that of the training; "" is an EEG whose name tells no site. A model that
# was itself trained on such an EEG takes another such, then the sites that sleep is scored on, the central first.
_REGION_ORDER: Mapping[str, tuple[str, ...]] = {
    "frontal": (*REGIONS, ""),
    "central": ("central", "frontal", "parietal", "occipital", "temporal", ""),
    "parietal": ("parietal", "central", "occipital", "frontal", "temporal", ""),
    "occipital": ("occipital", "parietal", "central", "frontal", "temporal", ""),
    "temporal": ("temporal", "central", "frontal", "parietal", "occipital", ""),
    "": ("", "central", "frontal", "occipital", "parietal", "temporal"),
    "of animals": (
        "",
        "central",
        "parietal",
        "frontal",
        "occipital",
        "temporal",
    ),  # a region as a name
}
# Sites of the AASM manual (2007), the right ones, which it recommends, first; then its midline and the rest.
_USUAL_SITES = ("F4", "F3", "C4", "C3", "O2", "O1", "P4", "P3", "Fz", "Cz", "Oz", "Pz", "Fp2", "Fp1", "Fpz")
# References of a site by its side: the contralateral mastoid comes first, or what lies beside it in a 10-20 cap.
REFERENCES = {
    "right": ("M1", "TP9", "M2", "TP10"),
    "left": ("M2", "TP10", "M1", "TP9"),
}

_NOT_STATED = 3  # rank of a reference that the name does not state


def rank_channel(trained: ChannelName, name: ChannelName) -> tuple[int, ...]:
    """Rank of a channel of the trained one's role, which is EEG, EOG or EMG."""
    return _RANKS[trained.role](trained, name)


def find_side(electrode: str) -> str:
    """Side of an electrode: odd numbers are left, even ones right; empty for the midline."""
    number = electrode.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    return ("right", "left")[int(number) % 2] if number.isdigit() else ""


def _rank_eeg(trained: ChannelName, name: ChannelName) -> tuple[int, ...]:
    """Rank of an EEG: the lower, the closer to the derivation of the training.

    In this order count: both electrodes are those of the training; its site, against a reference that is known; the
    region, by distance (for a frontal training: frontal, central, parietal, occipital); the reference; the side of the
    training, or, for a midline one, the right side (F4-M1 before F3-M2, as the AASM manual recommends). Of references,
    the contralateral mastoid or the mean of both (also of a difference made here) comes first, then the other mastoid,
    then a site of another region, then one that is not stated. A difference of neighbours in one region (Fp2-F4, C3-C4)
    leaves little of the signal and comes after all others.
    """
    reference = _rank_reference(name)
    side, trained_side = find_side(name.plus), find_side(trained.plus)
    return (
        int(not name.plus or (name.plus, name.minus) != (trained.plus, trained.minus)),
        int(not name.plus or name.plus != trained.plus or reference >= _NOT_STATED),
        int(reference > _NOT_STATED),
        _REGION_ORDER[trained.region or ("" if name.plus else "of animals")].index(name.region),
        reference,
        int(bool(trained_side) and side != trained_side),
        _USUAL_SITES.index(name.plus) if name.plus in _USUAL_SITES else len(_USUAL_SITES),
        name.number,
    )


def _rank_reference(name: ChannelName) -> int:
    """0 for the contralateral mastoid up to 4 for a neighbour in the same region; see `_rank_eeg`."""
    if name.minus == LINKED:
        return 0
    mastoids = REFERENCES.get(find_side(name.plus), ())
    if name.minus in mastoids:
        return mastoids.index(name.minus) // 2
    if name.minus in MASTOIDS:
        return 1
    region = read_channel_name(name.minus).region
    if not region:
        return _NOT_STATED
    return _NOT_STATED + 1 if region == name.region else _NOT_STATED - 1


def _rank_eog(trained: ChannelName, name: ChannelName) -> tuple[int, ...]:
    """Rank of an EOG: the electrodes of the training, then by what it records.

    For a horizontal EOG: another horizontal one, the difference of both eyes (which is one), one eye against a mastoid,
    one eye. For one eye: that eye, then the other one, against the contralateral mastoid if possible, then a horizontal
    EOG. The left eye comes before the right one, a vertical EOG last.
    """
    horizontal = name.plus == "HEOG" or {name.plus, name.minus} == set(EYES)
    wants_horizontal = trained.plus == "HEOG" or {trained.plus, trained.minus} == set(EYES)
    if name.plus == "VEOG":
        kind = 0 if trained.plus == "VEOG" else 4
    elif horizontal:
        kind = 0 if wants_horizontal else 2
    else:
        kind = 1 if name.plus in EYES else 3
    usual = {"E1": ("M2", LINKED, "M1"), "E2": ("M1", LINKED, "M2")}.get(name.plus, ())
    return (
        int(not name.plus or (name.plus, name.minus) != (trained.plus, trained.minus)),
        kind,
        int(name.plus != trained.plus and trained.plus in EYES),
        usual.index(name.minus) if name.minus in usual else len(usual),
        (*EYES, "HEOG").index(name.plus) if name.plus in (*EYES, "HEOG") else 3,
    )


def _rank_emg(trained: ChannelName, name: ChannelName) -> tuple[int, ...]:
    """Rank of an EMG: the chin as a channel or as the difference of two leads, one of its leads, an unstated muscle."""
    return (
        int(not name.plus or (name.plus, name.minus) != (trained.plus, trained.minus)),
        int(not name.is_chin),
        int(not (name.minus or name.plus in ("Chin", "EMG"))),
        int(not name.plus),
        int(name.plus[-1:]) if name.plus[-1:].isdigit() else 0,
    )


_RANKS = {"eeg": _rank_eeg, "eog": _rank_eog, "emg": _rank_emg}
