"""Speed of training, from the records of finished runs, for estimates of time. No torch."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median

from sweeps.running.trials import Trial, kept
from yosinski import files
from yosinski.environment import cpu_has_bfloat16, processor
from yosinski.experiment.run import Run
from yosinski.records import specs, states

# FLOP/s without a measurement. CPU: one core with AVX2 on small networks in float32 (docs/log.md). GPU: not measured
# here; an eighth of the 19.5 TFLOP/s in float32 of an A100's data sheet.
ASSUMED_SPEED = 30e9
ASSUMED_GPU_SPEED = 2.5e12
A_STEP = 1e-3  # assumed seconds per step besides its FLOPs; see `fitted`
MOST = 200  # maximum number of records that are read


@dataclass(frozen=True)
class Device:
    """The device of a plan; None: unknown."""

    kind: str | None = None  # cpu, cuda or mps
    precision: str | None = None
    processor: str | None = None  # name of the CPU or GPU


ANY = Device()


@dataclass(frozen=True)
class Measured:
    """The measured time in the record of a finished run."""

    network: str
    treatment: str
    seconds: float
    flops: float  # of the run alone
    steps: int
    pack_flops: float | None  # that it caused in its pack; None: its seconds are an even share of the pack's
    device: Device


@dataclass(frozen=True)
class Speed:
    """Seconds per FLOP that a run causes, and seconds per step."""

    flop: float
    step: float


@dataclass(frozen=True)
class Speeds:
    """The speeds of one worker by network, and their basis."""

    basis: str
    fits: dict[str, Speed] = field(default_factory=dict)
    measured: dict[tuple[str, str], float] = field(default_factory=dict)
    """FLOP/s by (network, treatment), of networks that only have records of earlier versions."""
    assumed: float = ASSUMED_SPEED

    @property
    def is_assumed(self) -> bool:
        """Whether nothing has been measured."""
        return not self.fits and not self.measured

    def seconds(self, run: Run, flops: float, caused: float, steps: int) -> float:
        """Seconds of a run with these FLOPs alone, and `caused` FLOPs in its pack."""
        if run.spec["network"] in self.fits:
            return self.fits[run.spec["network"]].flop * caused + self.fits[run.spec["network"]].step * steps
        if any(network == run.spec["network"] for network, _ in self.measured) or not self.fits:
            return flops / self.of(run) if self.measured else caused / self.assumed
        flop, step = (median(getattr(fit, name) for fit in self.fits.values()) for name in ("flop", "step"))
        return flop * caused + step * steps

    def of(self, run: Run) -> float:
        """FLOP/s of earlier versions for a run like this one in a pack, in FLOPs of the run alone."""
        if (run.spec["network"], run.treatment) in self.measured:
            return self.measured[run.spec["network"], run.treatment]
        return median(self.measured.values()) if self.measured else self.assumed


def measured(where: Path, runs: Iterable[Run], device: Device = ANY) -> Speeds:
    """Speeds from the records of these runs or, without any, from the first records in the runs directory.

    Records are used if they agree in kind of device, precision and processor; without such, in kind and precision; then
    in kind alone. Records of earlier versions, with evenly divided seconds, are used for networks without others.
    Networks without any have the speeds of their trials, if they would be trained on this processor.
    """
    runs = list(runs)
    of_records = from_records(where, runs, device)
    trials = kept(where) if device.kind == "cpu" and device.processor == processor() else {}
    in_specs = {run.network: run.spec["network"] for run in runs}  # files and encoders have a name and an identity
    fits = {in_specs.get(network, network): of_trial(trial, device.precision) for network, trial in trials.items()}
    if fits.keys() <= of_records.fits.keys():
        return of_records
    known = of_records.fits or of_records.measured
    basis = f"trials of this machine{f' and {of_records.basis}' if known else ''}"
    return replace(of_records, fits=fits | of_records.fits, basis=basis)


def of_trial(trial: Trial, precision: str | None) -> Speed:
    """The speed in a trial, by what a forward pass takes and a training step, of three times the FLOPs."""
    seconds = trial.all.get(precision or trial.precision) or trial.all[trial.precision]
    return fitted(
        [
            Measured(trial.network, kind, seconds[kind], flops, 1, flops, Device("cpu", precision))
            for kind, flops in (("forward", trial.flops), ("train", 3 * trial.flops))
        ]
    )


def from_records(where: Path, runs: Iterable[Run], device: Device) -> Speeds:
    """Speeds from records alone; see `measured`."""
    paths = (specs.folder(where, run.id) for run in runs)
    finished = list(islice((path for path in paths if (path / "record.json").exists()), MOST))
    if not finished and where.is_dir():
        finished = list(islice((path for path in specs.scan(where) if (path / "record.json").exists()), MOST))
    records = [record for path in finished if (record := read(path)) is not None]
    for names, but in (
        (("kind", "precision", "processor"), ""),
        (("kind", "precision"), ", all on other processors"),
        (("kind",), ", all in another precision"),
    ):
        fitting = [record for record in records if agree(record.device, device, names)]
        if fitting:
            return speeds(fitting, f"{len(fitting)} finished runs in {where}{but}")
    gpu = device.kind not in (None, "cpu")
    assumed, what = (ASSUMED_GPU_SPEED, "GPU") if gpu else (ASSUMED_SPEED, "worker")
    basis = f"an assumed {assumed / 1e9:,.0f} GFLOP/s per {what}; nothing has been measured yet"
    return Speeds(f"{basis} on such a device" if records else basis, assumed=assumed)


def precisions(where: Path, runs: Iterable[Run], networks: Iterable[str]) -> dict[str, str]:
    """The precisions of these finished runs on this machine's processor, by network."""
    wanted = (specs.folder(where, run.id) for run in runs if run.network in networks)
    records = [record for path in islice(wanted, MOST) if (record := read(path)) is not None]
    here = Device("cpu", processor=processor())
    return {
        record.network: record.device.precision
        for record in records
        if record.device.precision is not None and agree(record.device, here, ("kind", "processor"))
    }


def read(path: Path) -> Measured | None:
    """The measured time in a run's record; None if it is not done."""
    record = states.read_record(path)
    if record is None or record["state"] != "done" or not record["seconds"]:
        return None
    spec = files.read_json(path / "run.json")["spec"]
    arithmetic, environment = record.get("arithmetic") or {}, record.get("environment") or {}
    name = environment.get("processor" if arithmetic.get("device") == "cpu" else "gpu")
    alone = record.get("pack") == 1  # then its seconds are its own
    shared = "pack_flops" in record and (alone or record["seconds_by"] != "pack")
    return Measured(
        spec["network"],
        spec["treatment"],
        record["seconds"],
        record["flops"],
        record.get("steps", 0),
        record["pack_flops"] if shared else None,
        Device(arithmetic.get("device"), arithmetic.get("dtype"), name),
    )


def agree(one: Device, other: Device, names: Sequence[str]) -> bool:
    """Whether two devices agree in these values, as far as both are known."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def speeds(records: Iterable[Measured], basis: str) -> Speeds:
    """Speeds by network, from records of one device."""
    by_network: dict[str, list[Measured]] = defaultdict(list)
    for record in records:
        by_network[record.network].append(record)
    fits: dict[str, Speed] = {}
    medians: dict[tuple[str, str], float] = {}
    for network, group in by_network.items():
        shared = [record for record in group if record.pack_flops is not None]
        if shared:
            fits[network] = fitted(shared)
            continue
        by_treatment: dict[str, list[float]] = defaultdict(list)
        for record in group:
            by_treatment[record.treatment].append(record.flops / record.seconds)
        medians |= {(network, treatment): median(values) for treatment, values in by_treatment.items()}
    return Speeds(basis, fits, medians)


def fitted(shared: Sequence[Measured]) -> Speed:
    """The two non-negative times that fit the seconds with least squares of relative errors: per FLOP and per step.

    Runs that are all alike, such as bases, do not determine both. So `A_STEP` seconds per step are added as a prior,
    with a weight of a hundredth of a record.
    """
    import numpy as np
    from scipy.optimize import nnls

    rows = np.array([[record.pack_flops, record.steps] for record in shared], float)
    rows /= np.array([[record.seconds] for record in shared])
    scale = np.maximum(rows.max(0), 1e-30)
    prior = 0.1 * np.array([[0.0, 1 / A_STEP]]) / scale
    solution, _ = nnls(np.concatenate([rows / scale, prior]), np.append(np.ones(len(rows)), 0.1))
    return Speed(*(solution / scale).tolist())


def expected(kind: str, precision: str = "auto", here: bool = True) -> Device:
    """The device of a plan, as far as it is known without torch and, if not `here`, from another machine."""
    on_this_cpu = here and kind == "cpu"
    fastest = ("bfloat16" if cpu_has_bfloat16() else "float32") if on_this_cpu else None
    return Device(kind, fastest if precision == "auto" else precision, processor() if on_this_cpu else None)
