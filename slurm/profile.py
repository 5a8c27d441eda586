"""A profile: the resources of a job, read from a TOML file and checked before any submission."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from slurm import cluster
from yosinski.errors import BadInput, choose

PROFILES = Path(__file__).with_name("profiles")
OURS = (
    *(
        "array",
        "chdir",
        "comment",
        "dependency",
        "error",
        "job-name",
        "nodes",
        "ntasks",
        "ntasks-per-node",
        "open-mode",
    ),
    *("output", "requeue", "signal", "wrap"),
    *("partition", "account", "qos", "constraint", "gpus", "gpus-per-node", "cpus-per-task", "mem", "time"),
)
UNITS = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}  # in MiB


@dataclass(frozen=True)
class Profile:
    """Resources of one job of a sweep. Empty texts and zeros are left to the cluster's defaults."""

    name: str
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpus: int = 0  # of a base, which they train together; other packs take one; 0: on CPUs
    cpus: int = 1
    memory: str = "4G"
    time: str = "1:00:00"  # minutes, or [days-]hours:minutes:seconds
    grace: int = 60  # seconds from the warning to the end, at preemption and at the time limit
    pack: int = 14  # maximum number of runs that are trained together in one job
    throttle: int = 0  # maximum number of running jobs of an array; 0: the cluster's limit
    setup: tuple[str, ...] = ()  # shell lines before the job's own: modules, variables
    python: str = ""  # command that starts Python in a job, such as a container's; empty: this environment's
    staging: str = ""  # directory on the node's own disk for a copy of the store; variables are expanded there
    precision: str = "auto"
    threads: int = 1  # of one job; the last digits of numbers depend on it
    max_memory: str = ""  # `heal` increases memory and time up to these; empty: fourfold
    max_time: str = ""
    shared: bool = False  # the nodes see the runs directory, although its file system seems local
    options: Mapping[str, str] = field(default_factory=dict)  # further options of sbatch by long name

    def __post_init__(self) -> None:
        for value in fields(self):
            self._check(value.name, getattr(self, value.name), value.type)
        choose("value of precision", self.precision, ("auto", "float32", "bfloat16"))
        for name, least in {"gpus": 0, "cpus": 1, "grace": 5, "pack": 1, "throttle": 0, "threads": 1}.items():
            if getattr(self, name) < least:
                raise BadInput(f"profile {self.name}: {name} must be at least {least}, not {getattr(self, name)}")
        for name in ("memory", "max_memory"):
            self.mebibytes(name)
        for name in ("time", "max_time"):
            self.minutes(name)
        if self.grace >= 60 * self.minutes("time"):
            raise BadInput(f"profile {self.name}: grace ({self.grace} s) must be shorter than time ({self.time})")

    def _check(self, name: str, setting: Any, kind: Any) -> None:
        if name == "setup":
            fits = isinstance(setting, tuple) and all(isinstance(line, str) for line in setting)
        elif name == "options":
            fits = isinstance(setting, dict) and all(isinstance(value, str) for value in setting.values())
        else:
            fits = type(setting) is kind
        if not fits:
            expected = {"setup": "list of texts", "options": "table of texts"}.get(name, getattr(kind, "__name__", ""))
            raise BadInput(f"profile {self.name}: {name} takes a {expected}, not {setting!r}")
        if isinstance(setting, dict):
            for option, text in setting.items():
                if not re.fullmatch(r"[a-z][a-z-]*", option) or option in OURS:
                    raise BadInput(
                        f"profile {self.name}: options.{option} cannot be set; give long names of sbatch's options, "
                        f"but none of: {', '.join(OURS)}"
                    )
                self._check("one of the options", text, str)
        if isinstance(setting, str) and any(ord(letter) < 32 for letter in setting):
            raise BadInput(f"profile {self.name}: {name} must be one line, not {setting!r}")

    def mebibytes(self, name: str) -> int:
        """`memory` or `max_memory` in MiB; the default of the latter is four times the memory."""
        text = getattr(self, name)
        if not text:
            return 4 * self.mebibytes("memory") if name == "max_memory" else 0
        match = re.fullmatch(r"(\d+)(?:([KMGT])B?)?", text)
        if not match or int(match[1]) == 0:
            raise BadInput(f"profile {self.name}: {name} takes a size such as 500M or 16G, not {text!r}")
        return max(1, round(int(match[1]) * UNITS[match[2] or "M"]))

    def minutes(self, name: str) -> int:
        """`time` or `max_time` in minutes, rounded up; the default of the latter is four times the time."""
        text = getattr(self, name)
        if not text and name == "max_time":
            return 4 * self.minutes("time")
        try:
            count = cluster.minutes(text)
        except ValueError:
            raise BadInput(f"profile {self.name}: {name} takes 90, 1:30:00 or 2-12:00:00, not {text!r}") from None
        if count == 0:
            raise BadInput(f"profile {self.name}: {name} must be more than 0")
        return count

    def more(self, memory: bool = False, time: bool = False, smaller: bool = False) -> "Profile":
        """Twice the memory or time, up to the limits, or half as many runs per job; self if nothing can be changed."""
        changed: dict[str, Any] = {}
        if memory and self.memory:
            now, cap = self.mebibytes("memory"), self.mebibytes("max_memory")
            changed |= {"memory": f"{max(now, min(2 * now, cap))}M", "max_memory": f"{cap}M"}
        if time:
            now, cap = self.minutes("time"), self.minutes("max_time")
            changed |= {"time": f"{max(now, min(2 * now, cap))}", "max_time": f"{cap}"}
        if smaller:
            changed["pack"] = max(1, self.pack // 2)
        return replace(self, **changed)

    def as_json(self) -> dict[str, Any]:
        """All values, for `profile_from`."""
        return asdict(self)


def profile_from(values: Mapping[str, Any], name: str) -> Profile:
    """A profile from a table of values. BadInput for unknown keys."""
    valid = [value.name for value in fields(Profile) if value.name != "name"]
    for key in values:
        if key != "name":
            choose(f"key in profile {name}:", key, valid)
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Profile(**{**arguments, "name": name})


def find_profile(text: str) -> Profile:
    """The profile of this name in slurm/profiles, or in a .toml file."""
    if text.endswith(".toml"):
        path = Path(text)
        if not path.is_file():
            raise BadInput(f"no profile {path}")
    else:
        names = sorted(path.stem for path in PROFILES.glob("*.toml"))
        if text not in names:
            raise BadInput(f"unknown profile {text!r}; choose from: {', '.join(names)}, or a path to a .toml file")
        path = PROFILES / f"{text}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}") from error
    return profile_from(values, path.stem)
