"""Results of members: evaluations, and at the end weights and records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from safetensors.torch import save_file

from yosinski.environment import environment, peak_memory
from yosinski.errors import Failure
from yosinski.experiment.cost import cost, in_pack
from yosinski.networks.tensors import fingerprint
from yosinski.records.health import Chance
from yosinski.records.right import packed
from yosinski.training import surgery
from yosinski.training.arithmetic import Arithmetic, gpu_environment, gpu_memory
from yosinski.training.evaluation import Score, health
from yosinski.training.pack import Member
from yosinski.training.stream import Stream


class Results:
    """Results of the members of a pack, which share a stream of batches and the select images.

    chances: of each task, see `evaluation.chance`.
    """

    def __init__(
        self, pack: Sequence[Member], stream: Stream, chances: Sequence[Chance], arithmetic: Arithmetic
    ) -> None:
        self.stream, self.arithmetic, self.size = stream, arithmetic, len(pack)
        self.chances = chances
        self.caused = dict(zip(pack, in_pack([member.run for member in pack], stream.store.card), strict=True))

    def add(self, member: Member, scores: Sequence[Score]) -> bool:
        """Write an evaluation, and start a new mean of the training loss. Returns whether the old mean is finite.

        scores: of the run's half, then of its further tasks.
        """
        score, *further = scores
        member.end_mean()
        member.attempt.append(
            {
                "step": member.step,
                "epoch": member.step / self.stream.steps_per_epoch,
                "learning_rate": member.run.rate(member.step - 1, self.stream.steps),
                "train_loss": member.train_loss,
                "select_loss": score.loss,
                "select_top1": score.top1,
                "seconds": member.seconds,
                **{
                    f"{name}_{other.images.task}": value
                    for other in further
                    for name, value in (
                        ("train_loss", member.task_losses[other.images.task]),
                        ("select_loss", other.loss),
                        ("select_top1", other.top1),
                    )
                },
            }
        )
        return math.isfinite(member.train_loss)

    def finish(self, member: Member, scores: Sequence[Score], fusion: dict[str, Any] | None = None) -> None:
        """Write the weights and then the record. Failure if a fixed tensor has changed.

        scores: of the run's half, then of further tasks. A run is judged by its half alone. fusion: of inputs.
        """
        of_tasks = [[score for score in scores if score.images.task == k] for k in range(len(self.chances))]
        first, *further = (
            self.of_task(member.task_losses[k] if member.task_losses else member.train_loss, own, self.chances[k])
            for k, own in enumerate(of_tasks)
        )
        after = surgery.certificate(member.network, member.fixed)
        if after != member.certificate:
            raise Failure(f"{member}: tensors of frozen segments changed during training")
        tensors = {name: t.detach().cpu().contiguous() for name, t in member.network.state_dict().items()}
        member.attempt.save("weights.safetensors", lambda path: save_file(tensors, path))
        member.attempt.finish(
            {
                **first,
                **({"tasks": further} if further else {}),
                **({"fusion": fusion} if fusion else {}),
                "steps": member.step,
                "seconds": member.seconds,
                "seconds_by": member.seconds_by,
                "parameters": sum(p.numel() for p in member.network.parameters()),
                "trained_parameters": sum(p.numel() for p in member.trained.values()),
                "flops": cost(member.run, self.stream.store.card).flops,
                "pack_flops": round(self.caused[member]),
                "memory": peak_memory(),
                "gpu_memory": gpu_memory(self.arithmetic),
                "pack": self.size,
                "features": "stored" if member.features else "computed",
                "arithmetic": self.arithmetic.values,
                "environment": environment() | gpu_environment(self.arithmetic),
                "weights": fingerprint(tensors),
                "parent_weights": member.parent_weights,
                "certificate": {"before": member.certificate, "after": after} if member.fixed else None,
            }
        )

    def of_task(self, train_loss: float, scores: Sequence[Score], chance: Chance) -> dict[str, Any]:
        """The part of a record that is about one task."""
        state, reason = health(train_loss, scores, chance)
        return {
            "state": state,
            "reason": reason,
            "chance": asdict(chance),
            "metrics": finite(
                {"train_loss": train_loss}
                | {f"{score.images.name}_loss": score.loss for score in scores}
                | {f"{score.images.name}_top1": score.top1 for score in scores}
            ),
            "per_class": {
                score.images.name: {
                    "images": np.bincount(score.images.labels, minlength=score.images.classes).tolist(),
                    "correct": score.correct,
                }
                for score in scores
            },
            "right": {score.images.name: packed(score.right[by_label(score.images.labels)]) for score in scores},
        }


def by_label(labels: np.ndarray) -> np.ndarray:
    """The order of images by their labels, int64 [n]: where a half asks for classes they stand so already."""
    return np.argsort(labels, kind="stable")


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The metrics with None for NaN, which JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
