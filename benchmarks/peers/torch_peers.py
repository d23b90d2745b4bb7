"""One measurement of one peer, in a process of its own, some seconds; started by `run.py`.

Each peer is written as its own documentation has it: `higher` and `torchopt` loop over tasks,
`torch.func` maps over them. `torch` is PyTorch alone, in a loop over tasks. Checks the peer against
our problem (`--check`), or times outer steps on tasks generated beforehand.
"""

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

import higher
import numpy as np
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from benchmarks import report
from benchmarks.workloads import WAYS, WORKLOADS, Tasks, Workload, random_tasks

LossFn = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[list[Tensor]], Tensor]
WARMUP_STEPS = 3
NUM_META_BATCHES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("problem", help="the .npz file that ours wrote")
    parser.add_argument("--library", choices=list(STEPS), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    imports_mib = report.peak_memory_mib()
    torch.set_num_threads(args.threads)
    with np.load(args.problem) as file:
        problem = dict(file)
    torch.set_default_dtype(torch.from_numpy(problem["param_0"]).dtype)
    net, loss_fn = network(args.workload)
    for parameter, array in zip(net.parameters(), numbered(problem, "param"), strict=True):
        parameter.data = as_torch(array).reshape(parameter.shape)
    step = STEPS[args.library](net, loss_fn, WORKLOADS[args.workload])
    if args.check:
        result = check(net, step, problem)
    else:
        result = {"milliseconds": measure(step, args.workload, args.seconds)}
    memory = {"peak_mib": report.peak_memory_mib(), "imports_mib": imports_mib}
    print(
        json.dumps(result | memory | {"versions": report.versions("torch", "higher", "torchopt")})
    )


def higher_step(net: nn.Module, loss_fn: LossFn, workload: Workload) -> Step:
    """As in higher's `examples/maml-omniglot.py`."""
    outer_optimizer = torch.optim.Adam(net.parameters(), lr=workload.outer_learning_rate)
    inner_optimizer = torch.optim.SGD(net.parameters(), lr=workload.inner_learning_rate)

    def step(tasks: list[Tensor]) -> Tensor:
        outer_optimizer.zero_grad()
        total = torch.zeros(())
        for support_inputs, support_targets, query_inputs, query_targets in zip(
            *tasks, strict=True
        ):
            with higher.innerloop_ctx(net, inner_optimizer, copy_initial_weights=False) as (
                functional_net,
                differentiable_optimizer,
            ):
                for _ in range(workload.num_inner_steps):
                    support_loss = loss_fn(functional_net(support_inputs), support_targets)
                    differentiable_optimizer.step(support_loss)
                query_loss = loss_fn(functional_net(query_inputs), query_targets)
                query_loss = query_loss / workload.num_tasks
                query_loss.backward()
                total += query_loss.detach()
        outer_optimizer.step()
        return total

    return step


def torchopt_step(net: nn.Module, loss_fn: LossFn, workload: Workload) -> Step:
    """As in TorchOpt's `examples/few-shot/maml_omniglot.py`."""
    outer_optimizer = torch.optim.Adam(net.parameters(), lr=workload.outer_learning_rate)
    inner_optimizer = torchopt.MetaSGD(net, lr=workload.inner_learning_rate)

    def step(tasks: list[Tensor]) -> Tensor:
        outer_optimizer.zero_grad()
        net_state = torchopt.extract_state_dict(net, by="reference", detach_buffers=True)
        optimizer_state = torchopt.extract_state_dict(inner_optimizer, by="reference")
        query_losses = []
        for support_inputs, support_targets, query_inputs, query_targets in zip(
            *tasks, strict=True
        ):
            for _ in range(workload.num_inner_steps):
                inner_optimizer.step(loss_fn(net(support_inputs), support_targets))
            query_losses.append(loss_fn(net(query_inputs), query_targets))
            torchopt.recover_state_dict(net, net_state)
            torchopt.recover_state_dict(inner_optimizer, optimizer_state)
        loss = torch.stack(query_losses).mean()
        loss.backward()
        outer_optimizer.step()
        return loss.detach()

    return step


def torch_func_step(net: nn.Module, loss_fn: LossFn, workload: Workload) -> Step:
    """As in functorch's `examples/maml_omniglot/maml-omniglot-transforms.py`."""
    params = dict(net.named_parameters())
    outer_optimizer = torch.optim.Adam(params.values(), lr=workload.outer_learning_rate)

    def task_loss(params: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return loss_fn(functional_call(net, params, (inputs,)), targets)

    def query_loss(
        support_inputs: Tensor, support_targets: Tensor, query_inputs: Tensor, query_targets: Tensor
    ) -> Tensor:
        adapted = params
        for _ in range(workload.num_inner_steps):
            gradients = grad(task_loss)(adapted, support_inputs, support_targets)
            adapted = {
                name: adapted[name] - workload.inner_learning_rate * gradients[name]
                for name in params
            }
        return task_loss(adapted, query_inputs, query_targets)

    def step(tasks: list[Tensor]) -> Tensor:
        outer_optimizer.zero_grad()
        loss = vmap(query_loss)(*tasks).mean()
        loss.backward()
        outer_optimizer.step()
        return loss.detach()

    return step


def torch_step(net: nn.Module, loss_fn: LossFn, workload: Workload) -> Step:
    """With PyTorch alone: gradients that can be differentiated, task after task."""
    params = dict(net.named_parameters())
    outer_optimizer = torch.optim.Adam(params.values(), lr=workload.outer_learning_rate)

    def step(tasks: list[Tensor]) -> Tensor:
        outer_optimizer.zero_grad()
        total = torch.zeros(())
        for support_inputs, support_targets, query_inputs, query_targets in zip(
            *tasks, strict=True
        ):
            adapted = params
            for _ in range(workload.num_inner_steps):
                loss = loss_fn(functional_call(net, adapted, (support_inputs,)), support_targets)
                gradients = torch.autograd.grad(loss, list(adapted.values()), create_graph=True)
                adapted = {
                    name: value - workload.inner_learning_rate * gradient
                    for (name, value), gradient in zip(adapted.items(), gradients, strict=True)
                }
            query_loss = loss_fn(functional_call(net, adapted, (query_inputs,)), query_targets)
            query_loss = query_loss / workload.num_tasks
            query_loss.backward()
            total += query_loss.detach()
        outer_optimizer.step()
        return total

    return step


STEPS = {
    "higher": higher_step,
    "torchopt": torchopt_step,
    "torch.func": torch_func_step,
    "torch": torch_step,
}


class Shift(nn.Module):
    """Adds a learned number to each channel.

    Apart from the normalization, because PyTorch's cannot be differentiated twice with a shift
    and no scale.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class Flat(nn.Module):
    """All numbers of an image as one vector, in our order: channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1)


def network(workload: str) -> tuple[nn.Module, LossFn]:
    """The network and the loss."""
    images = WORKLOADS[workload].images
    if images is None:
        layers = [nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1)]
        return nn.Sequential(*layers), F.mse_loss
    (height, width, colours), channels = images.shape, images.channels
    inputs = (colours, *[channels] * 3)
    if images.downsample == "pool":
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, channels, 3, padding=1, bias=False),
                *normalized(channels),
                nn.MaxPool2d(2),
            )
            for before in inputs
        ]
        head = [Flat(), nn.Linear((height // 16) * (width // 16) * channels, WAYS)]
        return nn.Sequential(*blocks, *head), F.cross_entropy
    # TensorFlow's "same" padding: 28 → 14 → 7 → 4 → 2, the odd row on the far side
    paddings = [(0, 1, 0, 1), (0, 1, 0, 1), (1, 1, 1, 1), (0, 1, 0, 1)]
    blocks = [
        nn.Sequential(
            nn.ZeroPad2d(padding),
            nn.Conv2d(before, channels, 3, stride=2, bias=False),
            *normalized(channels),
        )
        for before, padding in zip(inputs, paddings, strict=True)
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, WAYS)]
    return nn.Sequential(*blocks, *head), F.cross_entropy


def normalized(channels: int) -> list[nn.Module]:
    """What follows a convolution."""
    norm = nn.BatchNorm2d(channels, eps=1e-3, affine=False, track_running_stats=False)
    return [norm, Shift(channels), nn.ReLU()]


def check(net: nn.Module, step: Step, problem: dict[str, Any]) -> dict[str, float]:
    """Two outer steps on the problem's tasks, against the meta-gradient that ours wrote."""
    tasks = as_tensors(Tasks(*numbered(problem, "task")))
    loss = float(step(tasks))
    gradient = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
    ours = torch.cat([as_torch(array).flatten() for array in numbered(problem, "gradient")])
    return {
        "meta_loss": loss,
        "meta_gradient_norm": float(gradient.norm()),
        "distance_of_meta_gradient": float((gradient - ours).norm() / ours.norm()),
        "meta_loss_after_outer_step": float(step(tasks)),
    }


def measure(step: Step, workload: str, seconds: float) -> float:
    """Milliseconds per outer step."""
    rng = np.random.default_rng(1)
    batches = [as_tensors(random_tasks(workload, rng)) for _ in range(NUM_META_BATCHES)]
    tasks = itertools.cycle(batches)
    for _ in range(WARMUP_STEPS):
        step(next(tasks))
    return 1e3 * report.seconds_per_call(lambda: step(next(tasks)), seconds)


def as_tensors(tasks: Tasks) -> list[Tensor]:
    """A meta-batch for PyTorch: channels before height and width, targets of 64 bits."""

    def as_tensor(array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        if tensor.ndim == 5:
            return tensor.movedim(-1, 2).contiguous()
        return tensor if tensor.is_floating_point() else tensor.long()

    return [as_tensor(array) for array in tasks]


def as_torch(array: np.ndarray) -> Tensor:
    """A parameter of ours in PyTorch's layout: outputs first."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return torch.from_numpy(array.T.copy() if array.ndim == 2 else array.copy())


def numbered(arrays: dict[str, Any], name: str) -> list[Any]:
    """`name_0`, `name_1`, …"""
    count = sum(key.startswith(f"{name}_") for key in arrays)
    return [arrays[f"{name}_{i}"] for i in range(count)]


if __name__ == "__main__":
    main()
