"""ODE solvers in data prediction, dx/dsigma = (x - D) / sigma (EDM, eq. 1 with s = 1).

A solver advances samples that may stand at different sigmas; everything it remembers is in a
`History` of tensors with one entry a sample. A region whose D did not change since the last step
is advanced in closed form by every solver: x(s') = D + (s' / s)(x - D).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError


@dataclass(frozen=True)
class History:
    """What a multistep solver remembers of the last two steps; all [b, h, w, c] or [b].

    denoised, x at sigma: the last step; older at older_sigma: the one before it. A sigma is NaN
    where there was no such step.
    """

    denoised: Tensor
    older: Tensor
    x: Tensor
    sigma: Tensor
    older_sigma: Tensor

    def select(self, samples: Tensor) -> "History":
        return History(*(value[samples] for value in self._values()))

    def append(self, other: "History") -> "History":
        pairs = zip(self._values(), other._values(), strict=True)
        return History(*(torch.cat(pair) for pair in pairs))

    def push(self, denoised: Tensor, x: Tensor, sigma: Tensor) -> "History":
        """The history after one more step."""
        return History(denoised, self.denoised, x, sigma, self.sigma)

    def _values(self) -> tuple[Tensor, ...]:
        return self.denoised, self.older, self.x, self.sigma, self.older_sigma


def new_history(x: Tensor) -> History:
    """x: [b, h, w, c]."""
    unknown = x.new_full((x.shape[0],), float("nan"))
    return History(torch.zeros_like(x), torch.zeros_like(x), x, unknown, unknown)


Solver = Callable[[Tensor, Tensor, Tensor, Tensor, History], tuple[Tensor, History]]
# (x, denoised, sigma [b], sigma_next [b], history) -> (x at sigma_next, history)


def euler(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
) -> tuple[Tensor, History]:
    """First order; DDIM in this parametrisation. At sigma_next = 0 the result is D."""
    return slide(x, denoised, sigma, sigma_next), history.push(denoised, x, sigma)


def slide(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """x(s') = D + (s' / s)(x - D): exact while D does not change."""
    ratio = broadcast(sigma_next / sigma)
    return denoised + ratio * (x - denoised)


def dpmpp_2m(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
) -> tuple[Tensor, History]:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), D extrapolated in log sigma."""
    extrapolated = denoised + half_slope(denoised, sigma, sigma_next, history)
    final = broadcast(sigma_next == 0) | broadcast(history.sigma.isnan())
    target = torch.where(final, denoised, extrapolated)
    return slide(x, target, sigma, sigma_next), history.push(denoised, x, sigma)


def half_slope(denoised: Tensor, sigma: Tensor, sigma_next: Tensor, history: History) -> Tensor:
    """(h / 2) dD/dlambda with lambda = -log sigma and h = log(sigma / sigma_next)."""
    step = log_ratio(sigma, sigma_next)
    last = log_ratio(history.sigma, sigma)
    return broadcast(step / (2 * last)) * (denoised - history.denoised)


def unipc(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, history: History
) -> tuple[Tensor, History]:
    """UniPC-2 in data prediction (Zhao et al. 2023, algorithms 1 and 2).

    The corrector redoes the last step with the D just computed at its end, without another
    evaluation; then the predictor is the multistep one of second order.
    """
    first = broadcast(history.sigma.isnan())
    corrected = torch.where(first, x, unipc_correct(denoised, sigma, history))
    x_next, _ = dpmpp_2m(corrected, denoised, sigma, sigma_next, history)
    return x_next, history.push(denoised, corrected, sigma)


def unipc_correct(denoised: Tensor, sigma: Tensor, history: History) -> Tensor:
    """x at sigma again, from the last point x0, by the interpolant of D through 3 points.

    With u = log(s0 / s) in [0, h], D(u) = D0 + a u + b u^2 through D at -h0, 0 and h:
    x = (s/s0) x0 + (1 - s/s0) D0 + a I1 + b I2, I1 = h - (1 - exp(-h)), I2 = h^2 - 2 I1, the
    exact exponential integrals. Linear (b = 0) while only one earlier step is known.
    """
    step = log_ratio(history.sigma, sigma)
    before = log_ratio(history.older_sigma, history.sigma)
    slope = (denoised - history.denoised) / broadcast(step)
    older_slope = (history.denoised - history.older) / broadcast(before)
    curve = (slope - older_slope) / broadcast(step + before)
    curve = torch.where(broadcast(before.isnan()), torch.zeros_like(curve), curve)
    first = step - (1 - sigma / history.sigma)
    second = step.square() - 2 * first
    start = slide(history.x, history.denoised, history.sigma, sigma)
    tilt = slope - curve * broadcast(step)
    return start + tilt * broadcast(first) + curve * broadcast(second)


def heun_correct(
    x: Tensor, denoised: Tensor, denoised_next: Tensor, sigma: Tensor, sigma_next: Tensor,
    x_next: Tensor,
) -> Tensor:  # fmt: skip
    """The second half of Heun (EDM, algorithm 1): the mean of both slopes; Euler at 0."""
    slope = (x - denoised) / broadcast(sigma)
    safe = torch.where(sigma_next == 0, torch.ones_like(sigma), sigma_next)
    slope_next = (x_next - denoised_next) / broadcast(safe)
    corrected = x + broadcast(sigma_next - sigma) * (0.5 * (slope + slope_next))
    return torch.where(broadcast(sigma_next == 0), x_next, corrected)


SOLVERS: dict[str, Solver] = {
    "euler": euler,
    "heun": euler,  # its second evaluation is the sampler's: see heun_correct
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
}


def solver_for(strided: bool, name: str) -> str:
    """The solver of a denoiser: a strided one's D is that of the whole step, so Euler is exact.

    Raises ModelError for a name that is no solver, strided or not.
    """
    solver(name)
    return "euler" if strided else name


def solver(name: str) -> Solver:
    if name not in SOLVERS:
        raise ModelError(
            f"solver must be one of {', '.join(SOLVERS)}, got {name!r}. Correct the name."
        )
    return SOLVERS[name]


def settle(history: History, x: Tensor, denoised: Tensor, sigma: Tensor, held: Tensor) -> History:
    """Rewrites the history of held pixels as if D had always been what it is now, so that no
    solver extrapolates over them and no corrector redoes a step with another D.

    x, denoised: [b, h, w, c] at sigma [b]; held: [b, h, w, 1] bool.
    """
    return replace(
        history,
        x=torch.where(held, slide(x, denoised, sigma, history.sigma), history.x),
        denoised=torch.where(held, denoised, history.denoised),
        older=torch.where(held, denoised, history.older),
    )


def broadcast(values: Tensor) -> Tensor:
    """[b] -> [b, 1, 1, 1]."""
    return values[:, None, None, None]


def log_ratio(a: Tensor, b: Tensor) -> Tensor:
    """log(a / b) per sample, taken in float64 (its float32 vector and scalar bodies differ)."""
    return (a.double() / b.double()).log().to(a.dtype)


@torch.no_grad()
def sample_dense(
    denoiser: Denoiser, eps: Tensor, labels: Tensor, sigmas: Tensor, name: str
) -> Tensor:
    """x_0 by the dense network at full width: the teacher's own sampler, without regions.

    eps: [b, h, w, c] unit noise, labels: [b], sigmas: [n + 1]. Returns [b, h, w, c]. A strided
    denoiser is sampled by Euler, whatever `name`.
    """
    name = solver_for(denoiser.arch.strided, name)
    advance, num = solver(name), eps.shape[0]
    x = eps * sigmas[0].to(eps)
    history = new_history(x)
    for sigma, sigma_next in zip(sigmas[:-1].to(eps), sigmas[1:].to(eps), strict=True):
        here, there = sigma.expand(num), sigma_next.expand(num)
        denoised, _ = denoiser(x, here, labels, sigma_next=there)
        x_next, history = advance(x, denoised, here, there, history)
        if name == "heun" and sigma_next > 0:
            denoised_next, _ = denoiser(x_next, there, labels)
            x_next = heun_correct(x, denoised, denoised_next, here, there, x_next)
        x = x_next
    return x
