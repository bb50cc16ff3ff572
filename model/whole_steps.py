"""Several steps of a batch as one call of C++, where policy, solver and requests allow it.

What a step by its parts gives, bit for bit. At batch 1 a step of the small model spent more time
between its calls than in them.
"""

from dataclasses import replace

import torch

from nitrogen.kernels.cpu.steps import Unet, Walked, run_steps
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import Past
from nitrogen.model.planning import Planner, batch_of
from nitrogen.model.request import Live, SamplerState
from nitrogen.model.solvers import History
from nitrogen.model.whole_network import (
    callable_with,
    known_program,
    maps_in_order,
    weights_of,
)

MAX_FLOPS = 3e10  # of one call, during which nothing can stop it: a third of a second on two cores


def whole_steps(
    planner: Planner, state: SamplerState, most: int, multistep: bool
) -> tuple[SamplerState, bool] | None:
    """The state after at most `most` steps, and whether a sample has only regions that exited; None
    where not one step can be done here. The caches of `state` are written in place."""
    live, denoiser = state.live, planner.denoiser
    # Whoever wraps a denoiser wants to be asked.
    if type(denoiser) is not Denoiser or not planner.in_one_call(live):
        return None
    unet, arch, weights = denoiser.unet, denoiser.arch, weights_of(denoiser.unet)
    if not callable_with(live.x, weights):
        return None
    assert planner.rules is not None, "one call needs rules"
    unet.check(live.x)
    most = min(most, int((live.num_steps - live.step).min()))
    most = min(most, max(1, int(MAX_FLOPS / (int(live.branches.sum()) * planner.cost.full_flops))))
    bare = live.cache_unlabelled
    bounds = torch.tensor([caps for _, caps in arch.layer_width]) if arch.layer_width else None
    walked = run_steps(
        batch_of(live), planner.rules, planner.network(),
        Unet(
            known_program(unet), weights, maps_in_order(arch, live.cache),
            None if bare is None else maps_in_order(arch, bare), bounds, arch.num_classes,
        ),
        most=most, multistep=multistep,
    )  # fmt: skip
    if not len(walked.widths):
        return None
    ran = zip(live.ids.tolist(), walked.widths.unbind(1), strict=True)
    trace = {sample: (*state.trace[sample], *widths) for sample, widths in ran}
    return SamplerState(advanced(live, walked), state.finished, trace), walked.someone_exited


def advanced(live: Live, walked: Walked) -> Live:
    """The batch after the steps."""
    now = walked.after
    return replace(
        live, x=now["x"], denoised=now["denoised"], step=now["step"], spent=now["spent"],
        exited=now["exited"],
        history=History(
            now["denoised"], now["older"], now["x_before"], now["sigma_last"], now["older_sigma"]
        ),
        past=Past(
            now["change"], now["age"], now["quarters"], now["log_residual"], now["calm"]
        ),
    )  # fmt: skip
