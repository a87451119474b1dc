"""See results in MLflow's page: ``python -m suite.ui``.

It listens on the loopback address of this machine only.
"""

import argparse
import base64
import getpass
import http.client
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from suite import cli, environment, stopping
from suite.config import InputError
from suite.tracking.store import DATABASE, PAGE_HOST, page, sqlite_uri, store_uri, without_secret

_HOST = "127.0.0.1"
_START_SECONDS, _END_SECONDS, _POLL_SECONDS = 180.0, 10.0, 0.2
_ANSWER_SECONDS = 30.0
_MOST_PAGES = 6  # that are named: the page lists the others
_LAST_LINES = 12  # of what a server said that did not start
# The leader of the server's process group. Its input ends when we do, however that comes about: SIGKILL as well.
_KEEPER = 'cat >/dev/null; rm -rf "$0"; kill -KILL 0'
_USER = "admin"
_AUTH = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {users}
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until somebody ends it."""
    args = parser().parse_args(argv)
    store = _store(args)
    _check_installed(args.auth)
    _check_free(args.port)
    stopping.treat_as_ctrl_c()
    with _private_group() as (folder, group):
        given = environment.cleaned(os.environ, "mlflow server")
        given["MLFLOW_BACKEND_STORE_URI"] = store  # no argument: it may hold a password
        if args.auth:
            given |= _authentication(folder)
        server = _start(args, folder, group, given)
        try:
            print(f"MLflow starts on {without_secret(store)} ...", flush=True)
            _wait(server, args.port, folder / "log.txt")
            _tell(args, folder, _pages(args, folder))
            while server.poll() is None:  # wait() could miss a signal that comes just before it
                time.sleep(_POLL_SECONDS)
        finally:
            _end(server)
    print("the server has ended by itself", file=sys.stderr)
    return 1


def parser() -> cli.CommandParser:
    """The arguments."""
    made = cli.CommandParser(
        "python -m suite.ui",
        "Serve MLflow's page of results on this machine's loopback address, until Ctrl-C.",
        usage="[options]",
        example="python -m suite.ui --results results --port 5001",
        statuses={
            1: "the server has ended by itself, or a file cannot be read or written",
            2: "bad input, or the server did not start",
            130: "stopped by Ctrl-C, TERM or HUP",
        },
    )
    shown = made.add_argument_group("results")
    shown.add_argument("--results", type=Path, default=cli.RESULTS, metavar="DIR", help="default: results")
    shown.add_argument("--store", metavar="URI", help="a database; default: mlflow.db in the results folder")
    server = made.add_argument_group("server")
    server.add_argument("--port", type=int, default=5000, metavar="N", help="default: %(default)s")
    server.add_argument("--auth", action="store_true", help="ask for a user name and a password, new at each start")
    return made


def _store(args: argparse.Namespace) -> str:
    """The database that is served."""
    if args.store is None:
        if not (args.results / DATABASE).exists():
            publish = shlex.join(["python", "-m", "suite.tracking", "publish", str(args.results)])
            raise InputError(f"{args.results}: no {DATABASE}: run a sweep, or `{publish}`")
        return store_uri(args.results)
    if args.store.startswith(("http://", "https://")):
        raise InputError(f"--store {without_secret(args.store)}: is a server itself: open it in a browser")
    return str(args.store)


def _check_installed(auth: bool) -> None:
    for module, package in (("mlflow", "mlflow"), ("flask_wtf", "'mlflow[auth]'")):
        if find_spec(module) is None and (auth or module == "mlflow"):
            raise InputError(f"no module {module}: install it with: pip install {package}")


def _check_free(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((_HOST, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--port {port}: {reason}: name another one, from 1024 to 65535") from None


@contextmanager
def _private_group() -> Iterator[tuple[Path, int]]:
    """A folder that only we may read, and a process group: both gone at the end, and where we are killed."""
    folder = tempfile.mkdtemp(prefix="suite-ui-")
    keeper = subprocess.Popen(["/bin/sh", "-c", _KEEPER, folder], stdin=subprocess.PIPE, process_group=0)
    try:
        yield Path(folder), keeper.pid
    finally:
        keeper.communicate()


def _authentication(folder: Path) -> dict[str, str]:
    """Write what MLflow's own authentication reads; the variables that lead to it."""
    password = secrets.token_urlsafe(16)
    users = sqlite_uri(folder / "users.db").replace("%", "%%")  # in an INI file
    config = _AUTH.format(users=users, user=_USER, password=password)
    for name, text in (("auth.ini", config), ("password", f"{password}\n")):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
    }


def _start(args: argparse.Namespace, folder: Path, group: int, given: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(args.port), "--workers", "1"]
    command += ["--artifacts-destination", (args.results / "mlartifacts").absolute().as_uri()]
    command += ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 2"]
    command += ["--app-name", "basic-auth"] if args.auth else []
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command,
            env=given,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=group,  # not ours: Ctrl-C is for us
        )


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server answers."""
    end = time.monotonic() + _START_SECONDS
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > end:
            lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            raise InputError(*lines, "MLflow's server did not start: what it says stands above")
        time.sleep(_POLL_SECONDS)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)  # by itself: no proxy of the environment
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


def _pages(args: argparse.Namespace, folder: Path) -> list[tuple[str, str]]:
    """The name and the path of each sweep's runs, the newest first, as the server answers."""
    request = urllib.request.Request(
        f"http://{_HOST}:{args.port}/api/2.0/mlflow/experiments/search",
        data=json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode(),
        headers={"Content-Type": "application/json"} | (_login(folder) if args.auth else {}),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError, ValueError), opener.open(request, timeout=_ANSWER_SECONDS) as answer:
        found = json.load(answer).get("experiments", [])
        return [(each["name"], page(each["experiment_id"])) for each in found if each["experiment_id"] != "0"]
    return []


def _login(folder: Path) -> dict[str, str]:
    known = f"{_USER}:{(folder / 'password').read_text().strip()}"
    return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}


def _tell(args: argparse.Namespace, folder: Path, pages: Sequence[tuple[str, str]]) -> None:
    """Say where the page is, and who can open it."""
    address = f"http://{PAGE_HOST}:{args.port}"
    newest = pages[0][1] if pages else ""
    print(f"ready: {address}{newest} (Ctrl-C ends it)")
    for name, path in pages[1:_MOST_PAGES]:
        print(f"  {name}: {address}{path}")
    there = f"{_user()}@{socket.gethostname()}"
    print(f"from another machine: ssh -N -L {args.port}:{_HOST}:{args.port} {there}, then the same address", flush=True)
    if not args.auth:
        print("every user of this machine can open and change it; --auth asks for a password", file=sys.stderr)
        return
    password = folder / "password"  # in what is kept of our output it has no place
    shown = password.read_text().strip() if sys.stdout.isatty() else f"in {password}"
    print(f"user: {_USER}, password: {shown}", flush=True)


def _user() -> str:
    """The name of the user; in a container the system may know none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        return "USER"


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; what is left of its group is killed next."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_END_SECONDS)


if __name__ == "__main__":
    sys.exit(cli.run(main))
