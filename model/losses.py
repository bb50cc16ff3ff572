"""Training targets: noise levels, weights, and the terms of distillation."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_sigma(
    num_samples: int, p_mean: float, p_std: float, generator: torch.Generator
) -> Tensor:
    """Log-normal noise levels [b] (EDM, table 1: ln sigma ~ N(P_mean, P_std^2))."""
    return (torch.randn(num_samples, generator=generator) * p_std + p_mean).exp()


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """lambda(sigma) of EDM, table 1: the loss of F is of unit size at every sigma. [b] -> [b]."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def tilted_weight(sigma: Tensor, sigma_data: float, tilt: float) -> Tensor:
    """lambda(sigma) sigma^tilt, sigma bounded to [0.02, 80]: an error at high noise moves x_0 more
    than one at low noise, which lambda alone does not know. [b] -> [b].

    Measured on a student of 4 steps, the share of the final error over that of lambda's loss goes
    as sigma^0.7 (docs/LOG.md).
    """
    return edm_weight(sigma, sigma_data) * sigma.clamp(0.02, 80.0) ** tilt


def weighted_error(denoised: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """mean_b weight_b * mean_{h,w,c} (denoised - target)^2, a scalar."""
    return (weight * (denoised - target).square().mean(dim=(1, 2, 3))).mean()


def log_mean_nll(log_mean: Tensor, error: Tensor) -> Tensor:
    """Negative log-likelihood of an exponential law with mean exp(log_mean), elementwise.

    For an error e >= 0: log m + e / m. Its minimiser is the conditional mean of e, so the
    difference of two such heads is an unbiased gain. error: same shape as log_mean.
    """
    return log_mean + error * torch.exp(-log_mean)


def gating_cost(gain: Tensor, cost: Tensor, temperature: float) -> Tensor:
    """The gating penalty's term: relative compute of the choice p(w | r) = softmax(gain / tau).

    gain: [..., options] of each width over holding (0 for holding itself).
    cost: [options] share of a full region's FLOPs.
    Returns the cost of the best option [...], with the gradient of p (straight-through).
    """
    p = F.softmax(gain / temperature, dim=-1)
    hard = F.one_hot(p.argmax(dim=-1), p.shape[-1]).to(p.dtype)
    straight_through = hard + p - p.detach()
    return (straight_through * cost).sum(dim=-1)
