import hashlib
from itertools import product

import torch

from tslm.seeds import Draw, derive_seed, hash_seed


def test_every_place_has_a_seed_of_its_own_that_torch_takes() -> None:
    seeds = [derive_seed(seed, draw, a, b) for seed, draw, a, b in product((0, 1), Draw, range(20), range(20))]
    assert len(set(seeds)) == len(seeds)
    for seed in seeds[:100]:
        torch.manual_seed(seed)


def test_a_seed_is_the_same_on_any_machine() -> None:
    assert derive_seed(0, Draw.STEP, 0, 1) == 7894669286316023435
    assert hash_seed("by_epoch", 0, "SC4001E0") == int(hashlib.sha256(b"by_epoch/0/SC4001E0").hexdigest()[:16], 16)


def test_neighbouring_seeds_draw_numbers_that_have_nothing_in_common() -> None:
    draws = [
        torch.rand(2000, generator=torch.Generator().manual_seed(derive_seed(0, Draw.STEP, 0, step)))
        for step in range(20)
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(20)
    assert float(correlation.abs().max()) < 0.1
