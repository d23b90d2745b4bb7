"""Algorithm 3 on point navigation in eager PyTorch, in a process of its own; started by
`navigation.py`.

The same iteration as `mamlax.rl.maml_trpo`, written for speed by hand, since no library's own can
be timed on this problem: tasks and episodes move together as tensors, adapted parameters carry a
leading axis of tasks and are applied by `baddbmm` (faster than `torch.func.vmap`), noise is drawn
and returns are summed in one operation each, updates take as many tasks at once as caches hold.
What it computes is checked against ours (`--check`) before it is timed.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import report
from benchmarks.speed.navigation import (
    DAMPING,
    HORIZON,
    INNER_LEARNING_RATE,
    MAX_KL,
    NUM_EPISODES,
    NUM_TASKS,
    SETTINGS,
    WARMUP_ITERATIONS,
    Direction,
)

SPEED, DISCOUNT, RIDGE = 0.1, 0.99, 1e-5
BACKTRACK, MAX_BACKTRACKS = 0.8, 15

STEPS_AT_ONCE = 4000

Product = Callable[[Tensor], Tensor]
Params = list[Tensor]
"""Three weights `[inputs, outputs]`, three biases, log-deviations; with an axis of tasks or not."""


class Episodes(NamedTuple):
    """What was recorded: `[tasks, episodes, time, ...]`."""

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    mask: Tensor
    advantages: Tensor


class Gaussian(NamedTuple):
    """Means `[tasks, steps, 2]`, and log-deviations `[tasks, 1, 2]`."""

    mean: Tensor
    log_std: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        z = (actions - self.mean) * torch.exp(-self.log_std)
        return -(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        ratio = torch.exp(2 * (self.log_std - other.log_std))
        z = (self.mean - other.mean) * torch.exp(-other.log_std)
        return (other.log_std - self.log_std + 0.5 * (ratio + z**2 - 1)).sum(-1)


class Update(NamedTuple):
    """The outcome of an outer update."""

    params: Params
    loss: float
    kl: float
    accepted: bool
    backtracks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", help="the .npz file that ours wrote")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--one", choices=list(SETTINGS), help="which to time")
    parser.add_argument("--iterations", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with np.load(args.problem) as file:
        problem = {name: torch.from_numpy(array) for name, array in dict(file).items()}
    torch.set_default_dtype(problem["param_0"].dtype)
    params = [problem[f"param_{i}"] for i in range(7)]
    if args.check:
        result = check(params, problem)
    else:
        result = measure(params, SETTINGS[args.one], args.iterations)
    memory = {"peak_mib": report.peak_memory_mib(), "versions": report.versions("torch")}
    print(json.dumps(result | memory))


def explore(params: Params, goals: Tensor, noises: tuple[Tensor, Tensor]):
    """Act, adapt, act again: support and query of every task."""
    support = with_advantages(rollout(params, goals, noises[0]))
    adapted = [param.detach() for param in adapt(params, support)]
    return support, with_advantages(rollout(adapted, goals, noises[1]))


@torch.no_grad()
def rollout(params: Params, goals: Tensor, noise: Tensor) -> Episodes:
    """Act in every task, with noise `[time, tasks, episodes, 2]`; no advantages yet."""
    std, goals = torch.exp(params[-1]), goals[:, None]
    scaled = noise * (std if std.ndim == 1 else std[:, None])
    position = noise.new_zeros(noise.shape[1:])
    alive = torch.ones(noise.shape[1:3], dtype=torch.bool)
    visited, reached, actions, mask = [], [], [], []
    for perturbation in scaled:
        action = perturbation + mean_action(params, position)
        moved = position + SPEED * action.clamp(-1.0, 1.0)
        visited.append(position)
        reached.append(moved)
        actions.append(action)
        mask.append(alive)
        alive = alive & ((moved - goals).abs() >= 0.01).any(-1)
        position = torch.where(alive[..., None], moved, position)
    mask = torch.stack(mask, 2)
    distances = torch.linalg.vector_norm(torch.stack(reached, 2) - goals[:, None], dim=-1)
    rewards = torch.where(mask, -distances, 0.0)
    log_std = params[-1] if params[-1].ndim == 1 else params[-1][:, None, None]
    log_probs = -(0.5 * noise.movedim(0, 2) ** 2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
    observations, actions = torch.stack(visited, 2), torch.stack(actions, 2)
    return Episodes(observations, actions, log_probs, rewards, mask, torch.empty(0))


@torch.no_grad()
def with_advantages(episodes: Episodes) -> Episodes:
    """Returns minus the linear baseline (λ = 1), normalized for each task."""
    mask = episodes.mask
    time = torch.arange(mask.shape[-1], dtype=episodes.rewards.dtype)
    discounts = torch.tril(DISCOUNT ** (time[:, None] - time).clamp(min=0.0))
    returns = episodes.rewards @ discounts
    observations, time = episodes.observations.clamp(-10.0, 10.0), time / 100.0
    powers = torch.stack([time, time**2, time**3], -1).expand(*returns.shape, 3)
    features = torch.cat([observations, observations**2, powers], -1).flatten(1, 2)
    weights, targets = step_weights(mask), returns.flatten(1)
    centered = features - weighted_mean(features, weights)
    deviation = weighted_mean(centered**2, weights).sqrt()
    usable = deviation > 1e-5 * weighted_mean(features**2, weights).sqrt()
    centered = torch.where(usable, centered / torch.where(usable, deviation, 1.0), 0.0)
    residual = targets - (weights * targets).sum(1, keepdim=True)
    weighted = (centered * weights[..., None]).mT
    covariance = weighted @ centered + RIDGE * torch.eye(features.shape[-1])
    slopes = torch.cholesky_solve(weighted @ residual[..., None], torch.linalg.cholesky(covariance))
    advantages = residual - (centered @ slopes)[..., 0]
    advantages = advantages - (weights * advantages).sum(1, keepdim=True)
    scale = (weights * advantages**2).sum(1, keepdim=True).sqrt()
    smallest = 1e-3 * (weights * targets**2).sum(1, keepdim=True).sqrt() + 1e-8
    advantages = (advantages / (scale + smallest)).unflatten(1, returns.shape[1:])
    return episodes._replace(advantages=advantages * mask)


def update(
    params: Params,
    support: Episodes,
    query: Episodes,
    setting: Direction,
) -> Update:
    """One step along the natural meta-gradient, within the trust region."""
    params = [param.detach().requires_grad_() for param in params]
    loss, old, gradient = meta_gradient(params, support, query)
    count = max(1, round(setting.fisher_fraction * support.mask.shape[1]))
    product = fisher_vector_product(
        params,
        *(Episodes(*(x[:, :count] for x in episodes)) for episodes in (support, query)),
        first_order=setting.fisher == "adapted",
    )
    direction, curvature = conjugate_gradients(
        product, gradient, setting.num_conjugate_gradient_steps
    )
    step = -math.sqrt(2 * MAX_KL / curvature) * direction if curvature > 0 else 0 * direction
    del product  # frees its graph

    def evaluate(scale: float) -> tuple[Params, float, float]:
        moved = unflatten(flatten(params).detach() + scale * step, params)
        losses, divergences = [], []
        for before, (some_support, some_query) in zip(old, batches(support, query), strict=True):
            adapted = [param.detach() for param in adapt(moved, some_support)]
            with torch.no_grad():
                new = act(adapted, some_query)
                losses.append(surrogate(new, some_query))
                divergences.append((step_weights(some_query.mask) * before.kl(new)).sum(1))
        return moved, float(torch.cat(losses).mean()), float(torch.cat(divergences).mean())

    scale, backtracks = 1.0, 0
    moved, new_loss, kl = evaluate(scale)
    while not (good := new_loss < loss and kl <= MAX_KL) and backtracks < MAX_BACKTRACKS:
        within = max(math.sqrt(0.9 * MAX_KL / max(kl, MAX_KL)), 0.1) if math.isfinite(kl) else 0.1
        scale *= BACKTRACK if kl <= MAX_KL else min(BACKTRACK, within)
        moved, new_loss, kl = evaluate(scale)
        backtracks += 1
    if not good:
        moved, new_loss, kl = params, loss, 0.0
    return Update([param.detach() for param in moved], new_loss, kl, good, backtracks)


def meta_gradient(
    params: Params, support: Episodes, query: Episodes, *, first_order: bool = False
) -> tuple[float, list[Gaussian], Tensor]:
    """The outer loss, the adapted policies' distributions on the query, and the gradient."""
    loss, gradient, old = 0.0, torch.zeros(()), []
    for some_support, some_query in batches(support, query):
        distributions = act(adapt(params, some_support, create_graph=not first_order), some_query)
        part = surrogate(distributions, some_query).sum() / len(query.mask)
        gradient = gradient + flatten(torch.autograd.grad(part, params))
        loss += float(part.detach())
        old.append(Gaussian(*(x.detach() for x in distributions)))
    return loss, old, gradient


def fisher_vector_product(
    params: Params, support: Episodes, query: Episodes, *, first_order: bool = False
) -> Product:
    """v ↦ JᵀFJv + damping · v, of graphs that are built once.

    J v is the derivative of uᵀJ with respect to u, so a product is two backward passes through
    graphs that are kept. Of what eager PyTorch offers this is the fastest here: differentiating the
    KL twice, as pytorch-maml-rl does, takes 1.6 times as long, `torch.func.jvp` with `vjp` 1.4,
    `torch.func.linearize` 1.1 and a second to build.
    """

    def of_batch(support: Episodes, query: Episodes) -> Product:
        outputs = act(adapt(params, support, create_graph=not first_order), query)
        dual = [torch.zeros_like(output, requires_grad=True) for output in outputs]
        pulled = torch.autograd.grad(outputs, params, dual, create_graph=True)
        precision = torch.exp(-2 * outputs.log_std.detach())
        weights = step_weights(query.mask)[..., None]

        def product(vector: Tensor) -> Tensor:
            tangent = unflatten(vector, params)
            mean, log_std = torch.autograd.grad(pulled, dual, tangent, retain_graph=True)
            curved = (weights * precision * mean, 2 * log_std)
            return flatten(torch.autograd.grad(outputs, params, curved, retain_graph=True))

        return product

    products = [of_batch(*some) for some in batches(support, query)]

    def product(vector: Tensor) -> Tensor:
        curved = torch.stack([product(vector) for product in products]).sum(0)
        return curved / len(query.mask) + DAMPING * vector

    return product


def conjugate_gradients(
    product: Product, target: Tensor, num_iterations: int
) -> tuple[Tensor, float]:
    """x with product(x) ≈ target, and its curvature x · product(x)."""
    x, residual, search = torch.zeros_like(target), target, target
    size = residual @ residual
    for _ in range(num_iterations):
        curved = product(search)
        length = size / (search @ curved)
        x = x + length * search
        residual = residual - length * curved
        before, size = size, residual @ residual
        search = residual + size / before * search
    return x, float(x @ (target - residual))


def adapt(params: Params, support: Episodes, *, create_graph: bool = False) -> Params:
    """One inner step of gradient descent in every task."""
    num_tasks = len(support.mask)
    each = [param.expand(num_tasks, *param.shape) for param in params]
    if not params[0].requires_grad:
        each = [param.detach().requires_grad_() for param in each]
    log_probs = act(each, support).log_prob(support.actions.flatten(1, 2))
    gains = step_weights(support.mask) * log_probs * support.advantages.flatten(1)
    gradients = torch.autograd.grad(-gains.sum(), each, create_graph=create_graph)
    return [p - INNER_LEARNING_RATE * g for p, g in zip(each, gradients, strict=True)]


def act(params: Params, episodes: Episodes) -> Gaussian:
    """The distributions of a policy for each task, with all steps on one axis."""
    return Gaussian(mean_action(params, episodes.observations.flatten(1, 2)), params[-1][:, None])


def mean_action(params: Params, x: Tensor) -> Tensor:
    """For `[tasks, observations, 2]`, by parameters that are shared or of each task."""
    *layers, _ = params
    for i, (weight, bias) in enumerate(zip(layers[:3], layers[3:], strict=True)):
        if weight.ndim == 2:
            x = torch.addmm(bias, x.flatten(0, 1), weight).unflatten(0, x.shape[:2])
        else:
            x = torch.baddbmm(bias[:, None], x, weight)
        x = x.relu() if i < 2 else x
    return x


def batches(support: Episodes, query: Episodes) -> Iterator[tuple[Episodes, Episodes]]:
    """Some tasks after others: few enough for the processor's caches."""
    size = max(1, STEPS_AT_ONCE // support.mask[0].numel())
    for first in range(0, len(support.mask), size):
        these = slice(first, first + size)
        yield Episodes(*(x[these] for x in support)), Episodes(*(x[these] for x in query))


def surrogate(distributions: Gaussian, query: Episodes) -> Tensor:
    """The likelihood ratio of each task, a mean over steps."""
    log_probs = distributions.log_prob(query.actions.flatten(1, 2))
    changes = log_probs - query.log_probs.flatten(1)
    ratios = torch.exp(torch.where(query.mask.flatten(1), changes, 0.0))
    gains = step_weights(query.mask) * ratios * query.advantages.flatten(1)
    return -gains.sum(1)


def step_weights(mask: Tensor) -> Tensor:
    """The weight of each step in the mean of a task: `[tasks, episodes × time]`."""
    flat = mask.flatten(1).to(torch.get_default_dtype())
    return flat / flat.sum(1, keepdim=True)


def weighted_mean(features: Tensor, weights: Tensor) -> Tensor:
    return weights[:, None] @ features


def flatten(tensors: Any) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def unflatten(vector: Tensor, like: Params) -> Params:
    pieces = vector.split([tensor.numel() for tensor in like])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


def measure(params: Params, setting: Direction, iterations: int) -> dict[str, Any]:
    """Time consecutive iterations."""
    torch.manual_seed(0)
    noise_shape = (HORIZON, NUM_TASKS, NUM_EPISODES, 2)
    milliseconds, sampling, updates, before, after = [], [], [], [], []
    for _ in range(WARMUP_ITERATIONS + iterations):
        began = time.perf_counter()
        goals = torch.rand(NUM_TASKS, 2) - 0.5
        noises = torch.randn(noise_shape), torch.randn(noise_shape)
        support, query = explore(params, goals, noises)
        sampled = time.perf_counter()
        updates.append(update(params, support, query, setting))
        params = updates[-1].params
        milliseconds.append(1e3 * (time.perf_counter() - began))
        sampling.append(1e3 * (sampled - began))
        before.append(float(support.rewards.sum(-1).mean()))
        after.append(float(query.rewards.sum(-1).mean()))

    def mean(values: list[float]) -> float:
        return float(f"{np.mean(values[WARMUP_ITERATIONS:]):.4g}")

    milliseconds = milliseconds[WARMUP_ITERATIONS:]
    return {
        "milliseconds": report.rounded_median(milliseconds),
        "iterations_milliseconds": [float(f"{each:.4g}") for each in milliseconds],
        "sampling_milliseconds": report.rounded_median(sampling[WARMUP_ITERATIONS:]),
        "backtracks": mean([update.backtracks for update in updates]),
        "accepted": mean([update.accepted for update in updates]),
        "pre_adaptation_return": mean(before),
        "post_adaptation_return": mean(after),
    }


def check(params: Params, problem: dict[str, Tensor]) -> dict[str, Any]:
    """Relative distances from what ours found, on the episodes that ours recorded."""
    support, query = (
        Episodes(*(problem[f"{name}_{field}"] for field in Episodes._fields))
        for name in ("support", "query")
    )
    params = [param.requires_grad_() for param in params]
    loss, _, gradient = meta_gradient(params, support, query)
    _, _, first_order = meta_gradient(params, support, query, first_order=True)
    errors: dict[str, Any] = {
        "loss": abs(loss - float(problem["loss"])),  # itself zero where advantages are normalized
        "gradient": distance(gradient, problem["gradient"]),
    }
    for name, setting in SETTINGS.items():
        count = round(setting.fisher_fraction * NUM_EPISODES)
        some = (Episodes(*(x[:, :count] for x in episodes)) for episodes in (support, query))
        product = fisher_vector_product(params, *some, first_order=setting.fisher == "adapted")
        errors[f"{name}_product"] = distance(product(problem["vector"]), problem[f"{name}_product"])
        updated = update(params, support, query, setting.checked())
        step = flatten(updated.params) - flatten(params).detach()
        errors[f"{name}_step"] = distance(step, problem[f"{name}_step"])
        errors[f"{name}_loss"] = abs(updated.loss / float(problem[f"{name}_loss"]) - 1)
    # acting: with the noise of ours, the same episodes
    noises = []
    policies = [p.detach() for p in params], [p.detach() for p in adapt(params, support)]
    for policy, recorded in zip(policies, (support, query), strict=True):
        each = [p.expand(NUM_TASKS, *p.shape) for p in policy] if policy[0].ndim == 2 else policy
        mean, log_std = act(each, recorded)
        noise = (recorded.actions.flatten(1, 2) - mean) * torch.exp(-log_std)
        noises.append(noise.unflatten(1, recorded.mask.shape[1:]).movedim(2, 0))
    for name, found, recorded in zip(
        ("support", "query"),
        explore([p.detach() for p in params], problem["goals"], (noises[0], noises[1])),
        (support, query),
        strict=True,
    ):
        distances = [distance(a.double(), b.double()) for a, b in zip(found, recorded, strict=True)]
        errors[f"{name}_episodes"] = max(distances)
    matters = {
        "distance_of_first_order": distance(first_order, gradient),
        "real_fraction": float(torch.cat([support.mask, query.mask]).double().mean()),
    }
    return {"errors": errors, **matters}


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


if __name__ == "__main__":
    main()
