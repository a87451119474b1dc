"""What commands of SLURM say, where no cluster is there: they are lines of shell on PATH, put there by ``fake``."""

from collections.abc import Callable
from pathlib import Path

from suite.slurm.record import JobRecord

Fake = Callable[..., Path]
UNKNOWN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"  # squeue's words
SHOWS_ALL = "echo 'JobCredentialPrivateKey = (null)'; echo 'PrivateData             = none'"  # of scontrol show config


def answers(fake: Fake, tmp_path: Path, text: str | bytes, status: int = 0) -> Path:
    """squeue says this."""
    said = tmp_path / "said"
    said.write_bytes(text if isinstance(text, bytes) else text.encode())
    return fake("squeue", f'cat "{said}"; exit {status}')


def line(record: JobRecord, state: str = "RUNNING") -> str:
    """What squeue says of a job."""
    return f"{record.id}|{state}|{record.name}|{record.comment}\n"
