"""One small training loop for every model of the world: processes of one thread each that average their gradients.

On two CPU cores, two processes of one thread do half as much work again as one process of two threads.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


@dataclass(frozen=True)
class Plan:
    """How a model is trained; `batch` is per process and step, `warmup` in steps.

    The rate is flat up to the fraction `decay_from` of the way and falls along a cosine to 2 % after it.
    """

    name: str
    steps: int
    lr: float
    batch: int
    seed: int
    work: Path
    device: str = "cpu"
    processes: int = 2
    warmup: int = 100
    decay_from: float = 0.3
    weight_decay: float = 0.0
    ema: float = 0.998
    save_every: int = 250
    clip_norm: float = 1.0
    compiled: bool = False  # torch.compile: a third faster after a minute and a half of compiling


class Task(Protocol):
    """A model in training: what is trained, the loss of one batch, and what to do with a finished average."""

    model: nn.Module

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """The scalar loss of `batch` samples drawn with `rng`."""

    def export(self, model: nn.Module) -> None:
        """Write `model`, which holds averaged weights."""


@dataclass
class _Average:
    """An exponential moving average of every floating parameter and buffer."""

    decay: float
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if name not in self.state or not value.is_floating_point():
                self.state[name] = value.detach().clone()
            else:
                self.state[name].lerp_(value.detach(), 1 - decay)


def learning_rate(plan: Plan, step: int) -> float:
    """The rate of `step`, counted from 0."""
    if step < plan.warmup:
        return plan.lr * (step + 1) / plan.warmup
    start = plan.decay_from * plan.steps
    done = min(1.0, max(0.0, (step - start) / max(1.0, plan.steps - start)))
    return plan.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def train(plan: Plan, make_task: Callable[[], Task]) -> dict[str, float]:
    """Train until `plan.steps`, from the last checkpoint if there is one; returns steps and the last mean loss.

    Checkpoints are `work`/<name>.pt, the log `work`/<name>.log. `make_task` must be picklable.
    """
    plan.work.mkdir(parents=True, exist_ok=True)
    # Read by the allocator of the processes started below: giving pages back after every step costs a fifth of it.
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "-1")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**32))
    mp.spawn(_worker, (plan, make_task, _free_port()), nprocs=plan.processes)
    saved = torch.load(_checkpoint(plan), map_location="cpu", weights_only=True)
    return {"steps": saved["step"], "loss": saved["loss"]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _checkpoint(plan: Plan) -> Path:
    return plan.work / f"{plan.name}.pt"


def _worker(rank: int, plan: Plan, make_task: Callable[[], Task], port: int) -> None:
    if plan.device == "cpu":
        torch.set_num_threads(1)
    if plan.processes > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=plan.processes)
    torch.manual_seed(plan.seed)  # a process of its own; the same start in every process
    task = make_task()
    model = task.model.to(plan.device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
    average, first, loss = _Average(plan.ema), 0, float("nan")
    if _checkpoint(plan).exists():
        saved = torch.load(_checkpoint(plan), map_location=plan.device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state, first, loss = saved["average"], saved["step"], saved["loss"]
    started, running, counted = time.monotonic(), 0.0, 0
    for step in range(first, plan.steps):
        value = _step(task, parameters, optimizer, plan, step, rank)
        average.update(model, step)
        running, counted = running + value, counted + 1
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            loss, running = running / counted, 0.0
            if rank == 0:
                seconds = (time.monotonic() - started) / (step + 1 - first)
                _log(plan, f"step {step + 1}/{plan.steps} loss {loss:.4f} {seconds:.3f} s a step")
                _save(plan, model, optimizer, average, step + 1, loss)
                _export(task, model, average)
            counted = 0
    if plan.processes > 1:
        dist.destroy_process_group()


def _step(
    task: Task, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, plan: Plan, step: int, rank: int
) -> float:
    # A step's samples depend on (seed, step, process) only, so a resumed training equals an uninterrupted one.
    rng = torch.Generator().manual_seed((plan.seed * 1_000_003 + step) * 64 + rank)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(plan, step)
    optimizer.zero_grad(set_to_none=True)
    loss = task.loss(rng, plan.batch)
    loss.backward()
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if plan.processes > 1:
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        flat /= plan.processes
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            parameter.grad.copy_(part.view_as(parameter))
    nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
    optimizer.step()
    return float(loss.detach())


def _export(task: Task, model: nn.Module, average: _Average) -> None:
    live = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.state)
    model.eval()
    with torch.no_grad():
        task.export(model)
    model.train()
    model.load_state_dict(live)


def _save(plan: Plan, model: nn.Module, optimizer: torch.optim.Optimizer, average: _Average, step: int, loss: float):
    partial = _checkpoint(plan).with_suffix(".partial")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state}
    torch.save({**state, "step": step, "loss": loss}, partial)
    os.replace(partial, _checkpoint(plan))


def _log(plan: Plan, line: str) -> None:
    with (plan.work / f"{plan.name}.log").open("a", encoding="utf-8") as log:
        log.write(line + "\n")
