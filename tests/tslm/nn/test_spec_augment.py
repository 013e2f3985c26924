import pytest
import torch

from tests.factories.small import small_config
from tslm.nn.front_ends import build_front_end, mask_spectrogram


def hidden(masked_SNF: torch.Tensor) -> tuple[list[list[int]], list[list[int]]]:
    """Patches and bands that are hidden throughout, by series."""
    patches = [(series_NF == 0).all(dim=1).nonzero().flatten().tolist() for series_NF in masked_SNF]
    bands = [(series_NF == 0).all(dim=0).nonzero().flatten().tolist() for series_NF in masked_SNF]
    return patches, bands


def test_one_stretch_of_patches_and_one_of_bands_is_hidden_in_each_series():
    draws_S4 = torch.tensor([[0.99, 0.0, 0.99, 0.999], [0.5, 0.5, 0.0, 0.3]])
    patches, bands = hidden(mask_spectrogram(torch.ones(2, 10, 8), 3, 2, draws_S4))
    assert patches == [[0, 1, 2], [4, 5]]
    assert bands == [[6, 7], []]


def test_what_is_not_hidden_stays_as_it_is():
    energy_SNF = torch.randn(5, 10, 8)
    masked_SNF = mask_spectrogram(energy_SNF, 4, 3, torch.rand(5, 4))
    assert torch.equal(masked_SNF[masked_SNF != 0], energy_SNF[masked_SNF != 0])
    assert torch.equal(mask_spectrogram(energy_SNF, 0, 0, torch.rand(5, 4)), energy_SNF)


def test_widths_and_places_are_drawn_evenly():
    patches, _ = hidden(mask_spectrogram(torch.ones(6000, 6, 3), 2, 0, torch.rand(6000, 4)))
    widths = torch.tensor([len(stretch) for stretch in patches]).bincount()
    assert widths.min() > 1850
    singles = torch.tensor([stretch[0] for stretch in patches if len(stretch) == 1]).bincount()
    assert len(singles) == 6
    assert singles.min() > 260


def test_a_stretch_is_never_wider_than_the_spectrogram():
    assert mask_spectrogram(torch.ones(3, 4, 5), 99, 99, torch.full((3, 4), 0.999)).count_nonzero() == 0


@pytest.mark.parametrize("raw_patch", [True, False])
def test_the_filterbank_hides_while_training_only_and_never_by_default(raw_patch):
    series_SL = torch.randn(3, 600)
    for mask_patches, mask_bands in ((0, 0), (3, 0), (0, 4)):
        config = small_config(
            model__encoder__raw_patch=raw_patch,
            model__encoder__mask_patches=mask_patches,
            model__encoder__mask_bands=mask_bands,
        )
        front_end = build_front_end(config.model.encoder)
        torch.manual_seed(1)
        training, again = front_end.train()(series_SL), front_end(series_SL)
        torch.manual_seed(1)
        assert torch.equal(front_end(series_SL), training)
        scoring = front_end.eval()(series_SL)
        assert torch.equal(scoring, front_end(series_SL))
        masked = bool(mask_patches or mask_bands)
        assert torch.equal(training, again) != masked
        assert torch.equal(training, scoring) != masked
