"""A live recording staged to its end: channels are chosen in its first epoch, epochs given as they end."""

from collections.abc import Iterator, Mapping

from tslm.data.cohorts.channel_choice import choose_channels
from tslm.staging.live.scorer import LiveEpoch, StreamingScorer, check_causal
from tslm.staging.live.source import LiveSource, derive, list_parts, number_names
from tslm.staging.models import StagingModels


class Follower:
    """Stages a live recording.

    Args:
        source: the recording; it is waited for until it holds an epoch.
        models: the checkpoint of a causal classifier.
        given: channels of the model that the caller has chosen.

    Raises:
        ValueError: as `StreamingScorer` and `choose_channels`.
    """

    def __init__(self, source: LiveSource, models: StagingModels, given: Mapping[str, str]) -> None:
        check_causal(models)
        file = source.wait_for(models.classifier.model.epoch_s)
        choice = choose_channels(file, models.channels, given)
        if models.needed_channels.intersection(choice.missing):
            raise ValueError(choice.complaint)
        names = number_names([channel.name for channel in file.channels])
        self.source, self.choice = source, choice
        self._parts = {wanted: list_parts(channel, names) for wanted, channel in choice.channels.items()}
        self._names = tuple(dict.fromkeys(name for parts in self._parts.values() for name in parts))
        rates_hz = dict(zip(names, (channel.fs_hz for channel in file.channels), strict=True))
        self._rate_of = {wanted: parts[0] for wanted, parts in self._parts.items()}
        self.scorer = StreamingScorer(
            models.classifier_dir,
            {wanted: rates_hz[name] for wanted, name in self._rate_of.items()},
            {wanted: wanted for wanted in self._parts},
        )

    def stage(self) -> Iterator[LiveEpoch]:
        """Epochs as they end, until the recording does; ValueError where it changes a rate."""
        for chunk, rates_hz in self.source.read_chunks(self._names):
            derived = {wanted: derive(parts, chunk) for wanted, parts in self._parts.items()}
            yield from self.scorer.feed(derived, {wanted: rates_hz[name] for wanted, name in self._rate_of.items()})
