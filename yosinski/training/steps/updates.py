"""Updates of a pack by its gradients."""

from yosinski.training.clock import Clock
from yosinski.training.pack import Member
from yosinski.training.steps.gradients import clip
from yosinski.training.steps.optimiser import take

HELD = 1 << 26  # bytes of gradients that may wait for the update of several members at a time


class Updates:
    """The updates of a pack by its gradients: clipped, then used in one step of as many members as wait.

    Small networks are updated in fewer, fuller calls than one by one, with the same numbers; of large ones only one
    member's gradients are in memory. steps: of the training.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.waiting: list[Member] = []
        self.sizes: list[int] = []  # of the gradients of those, in bytes

    def add(self, member: Member, step: int, clock: Clock) -> None:
        """Update a member that has its gradients of a step, now or in the next `take`."""
        self.waiting.append(member)
        self.sizes.append(sum(p.grad.nbytes for p in member.trained.values() if p.grad is not None))
        if sum(self.sizes) > HELD:
            self.take(step, clock)

    def take(self, step: int, clock: Clock) -> None:
        """Update all that wait."""
        members, sizes = self.waiting, self.sizes
        self.waiting, self.sizes = [], []
        if members:
            with clock.of(members, 0.0, sizes):
                self._take(members, step)

    def _take(self, members: list[Member], step: int) -> None:
        for member in members:
            run, recipe = member.run, member.run.recipe
            if member.of_tasks is None:
                clip(member.trained.values(), recipe.clip)
            if recipe.solver == "caffe" and step and run.rate(step - 1, self.steps) != run.rate(step, self.steps):
                # Caffe's velocity contains the rates of earlier steps, torch's does not.
                for state in member.optimiser.state.values():
                    state["momentum_buffer"] *= run.rate(step - 1, self.steps) / run.rate(step, self.steps)
        take([(member.optimiser, member.run.rate(step, self.steps)) for member in members])
        for member in members:
            member.optimiser.zero_grad()  # frees the gradients
            member.loss_steps += 1
            member.step += 1
