import torch

from stitching.compute.seeding import item_noise


def test_noise_of_an_item_does_not_depend_on_the_others():
    together = item_noise(3, [5, 6, 7], (4,))
    assert torch.equal(item_noise(3, [6], (4,))[0], together[1])
    assert torch.equal(item_noise(3, [7, 5], (4,)), together[[2, 0]])


def test_items_and_seeds_give_different_noise():
    noise = torch.cat([item_noise(s, [i], (64,)) for s in (0, 1) for i in (0, 1, 2**63)])
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.5


def test_noise_is_standard_normal():
    noise = item_noise(0, range(200), (100,)).double()
    # 20,000 values: the standard error of mean and standard deviation is below 0.008.
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03


def test_the_global_generator_is_not_touched():
    state = torch.get_rng_state()
    item_noise(0, range(3), (5,))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_items_give_an_empty_tensor():
    assert item_noise(0, [], (2, 3)).shape == (0, 2, 3)
