"""The density that samples are drawn from."""

import pytest
import torch

from stitching.models.prior import FittedPrior


def latents(n=400, width=12):
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(n, width, generator=generator) * torch.logspace(1, -1, width)
    return mixed @ torch.linalg.qr(torch.randn(width, width, generator=generator))[0] + 5


def test_samples_have_the_mean_and_the_strongest_directions_of_the_latents():
    z, prior = latents(), FittedPrior(12, 3)
    prior.fit(z)
    covariance = torch.cov(z.double().T)
    values, vectors = torch.linalg.eigh(covariance)
    strongest = (vectors[:, -3:] * values[-3:]) @ vectors[:, -3:].T
    torch.testing.assert_close(
        (prior.factor @ prior.factor.T).double(), strongest, rtol=1e-5, atol=1e-5
    )
    noise = torch.randn(20_000, 12, generator=torch.Generator().manual_seed(1))
    drawn = prior(noise)
    torch.testing.assert_close(drawn.mean(0), z.mean(0), atol=0.2, rtol=0)
    assert torch.linalg.matrix_rank((drawn - prior.mean).double(), rtol=1e-5) == 3
    # What lies beyond the rank does not count.
    noise[:, 3:] = 0
    assert torch.equal(prior(noise), drawn)


def test_at_full_rank_it_is_the_gaussian_of_the_latents():
    z, prior = latents(), FittedPrior(12, 12)
    prior.fit(z)
    torch.testing.assert_close(prior.factor @ prior.factor.T, torch.cov(z.T), rtol=1e-4, atol=1e-4)


def test_fewer_latents_than_directions_leave_the_rest_without_width():
    z, prior = latents(n=5), FittedPrior(12, 8)
    prior.fit(z)
    assert torch.count_nonzero(prior.factor.norm(dim=0)) == 4  # centred rows span N - 1
    assert prior(torch.ones(2, 12)).isfinite().all()


def test_before_it_is_fitted_noise_stays_as_it_is():
    noise = torch.randn(3, 12)
    assert torch.equal(FittedPrior(12, 12)(noise), noise)


def test_there_are_no_more_directions_than_values():
    assert FittedPrior(12, 20).rank == 12


def test_a_rank_that_is_no_rank_is_refused():
    with pytest.raises(ValueError, match="null or >= 1, got 0"):
        FittedPrior(12, 0)
