"""Where things are: the state folder of one stack, and the checkout it runs."""

from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SHARED_CONF = Path(__file__).resolve().parent / "conf"


@dataclass(frozen=True)
class Layout:
    """Every path of one stack's state folder (`.millrace/`)."""

    home: Path

    @property
    def ports_file(self) -> Path:
        """Remembered ports."""
        return self.home / "ports.json"

    @property
    def secrets_file(self) -> Path:
        """Generated passwords."""
        return self.home / "secrets.env"

    @property
    def env_file(self) -> Path:
        """The MILLRACE_ variables, for the command line and for people."""
        return self.home / "env"

    @property
    def conf(self) -> Path:
        """Rendered configuration; holds passwords."""
        return self.home / "conf"

    @property
    def logs(self) -> Path:
        """One log a part."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Process records."""
        return self.home / "run"

    @property
    def lake(self) -> Path:
        """Delta tables and checkpoints."""
        return self.home / "lake"

    @property
    def lineage_events(self) -> Path:
        """OpenLineage events, one JSON a line."""
        return self.home / "lineage" / "events.jsonl"

    @property
    def audit_checkpoints(self) -> Path:
        """Signed checkpoints of the audit's chain: outside the database that they vouch for."""
        return self.home / "audit" / "checkpoints.jsonl"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME: the instance's settings and compute logs."""
        return self.home / "dagster"

    def log(self, part: str) -> Path:
        """The part's log (standard output and error together)."""
        return self.logs / f"{part}.log"

    def launch(self, part: str) -> Path:
        """What `millrace.stack.launch` reads to start the part."""
        return self.conf / f"{part}.launch.json"

    def record(self, process: str) -> Path:
        """Process id and start time of what runs as this part (or as `supervisord`)."""
        return self.run / f"{process}.pid"

    def make(self) -> None:
        """Create the folders; the state folder must let the postgres user pass through."""
        for folder in (self.home, self.conf, self.logs, self.run, self.lake, self.dagster):
            folder.mkdir(parents=True, exist_ok=True)
        self.lineage_events.parent.mkdir(exist_ok=True)
        self.audit_checkpoints.parent.mkdir(exist_ok=True)
        self.conf.chmod(0o700)
        self.run.chmod(0o700)
