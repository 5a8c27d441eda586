"""Checkpoints: the state of a run, so that an interrupted run gives the same numbers as an undisturbed one."""

from pathlib import Path
from typing import Any

import torch

from yosinski import files
from yosinski.errors import Failure
from yosinski.training.arithmetic import Arithmetic
from yosinski.training.pack import Member

# Versions that do not know all values of `arithmetic` would report damage: 1 knows no head, 2 no processes.
FORMAT = 3


def save(member: Member, arithmetic: Arithmetic) -> None:
    """Write the state of a run. Fixed segments are left out, because they do not change."""
    states = {name: dict(state) for name, state in member.optimiser.state.items()}
    momenta = {name: state.pop("momentum_buffer", None) for name, state in states.items()}
    content = {
        "format": FORMAT if arithmetic.processes > 1 else FORMAT - 1,
        "run": member.run.id,
        "step": member.step,
        "seconds": member.seconds,
        "seconds_by": member.seconds_by,
        "arithmetic": arithmetic.values,
        "tensors": {name: t for name, t in member.network.state_dict().items() if name not in member.fixed},
        "frozen": member.certificate,
        "parent_weights": member.parent_weights,
        "momentum": {name: momentum for name, momentum in momenta.items() if momentum is not None},
        "moments": {name: state for name, state in states.items() if state},
        "loss_sum": member.loss_sum,
        "loss_steps": member.loss_steps,
        "train_loss": member.train_loss,
        **({} if member.of_tasks is None else {"of_tasks": member.of_tasks, "task_losses": member.task_losses}),
    }
    member.attempt.save("checkpoint.pt", lambda path: torch.save(content, path))


def started_in(path: Path) -> Arithmetic | None:
    """The arithmetic of the checkpoint in a run's directory; None if it cannot be read, as its job will say."""
    try:
        content = torch.load(path / "checkpoint.pt", map_location="meta", weights_only=True)  # reads no tensors
        return Arithmetic.of(content["arithmetic"])
    except Exception:  # torch.load raises all kinds of exceptions for damaged files
        return None


def resume(member: Member, arithmetic: Arithmetic, change_arithmetic: bool = False) -> None:
    """Continue from a checkpoint, if there is one.

    A damaged checkpoint is set aside. Another arithmetic is refused unless `change_arithmetic`. Failure in both cases.
    """
    path = member.attempt.path / "checkpoint.pt"
    if not path.exists():
        member.attempt.rewind(0)
        return
    device = next(member.network.parameters()).device
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if content["format"] > FORMAT:
            raise Failure(
                f"{path} is of format {content['format']}; this version reads up to {FORMAT}: update yosinski"
            )
        moments = content.get("moments", {})  # earlier versions had no AdamW
        if content["run"] != member.run.id or (content["momentum"].keys() | moments.keys()) - member.trained.keys():
            raise ValueError("the checkpoint of another run")
        started = Arithmetic.of(content["arithmetic"])
        state = member.network.state_dict()
        state.update(content["tensors"])
        member.network.load_state_dict(state)
        for name, momentum in content["momentum"].items():
            member.optimiser.state[name]["momentum_buffer"] = momentum
        member.optimiser.state.update(moments)
        member.loss_sum.copy_(content["loss_sum"])
        if member.of_tasks is not None:
            member.of_tasks.copy_(content["of_tasks"])
            member.task_losses = content["task_losses"]
        member.step, member.seconds = content["step"], content["seconds"]
        member.seconds_by = content.get("seconds_by", "pack")
        member.loss_steps, member.train_loss = content["loss_steps"], content["train_loss"]
    except (Failure, OSError):
        raise
    except Exception as error:  # torch.load raises all kinds of exceptions for damaged files
        aside = files.set_aside(path)
        raise Failure(f"{path} is damaged and was set aside as {aside.name}; run again to train it anew") from error
    cut_from = content.get("parent_weights", member.parent_weights)
    if content["frozen"] != member.certificate or cut_from != member.parent_weights:
        aside = files.set_aside(path)
        raise Failure(f"{member}: its base was trained anew since; {path} was set aside as {aside.name}; run again")
    if not started.agrees(arithmetic) and not change_arithmetic:
        raise Failure(
            f"{member} was started with {started}, this is {arithmetic}: "
            "go on with that, or allow the change with --change-arithmetic"
        )
    member.attempt.rewind(member.step)
