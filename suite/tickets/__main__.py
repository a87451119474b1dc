"""``python -m suite.tickets info|verify|eval|export``: what is in a stored network, is it right, how good is it.

A network is named by its file, by the folder of its trial, or by a folder of results: all in it. Exit status: 0; 1 a
network is not what its record says; 2 a mistake in the input, or a file that is no ticket.
"""

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from suite import cli, sweepfile, tickets
from suite.config import InputError, Trial, identity
from suite.data import Data
from suite.records import DENSE, TICKET, listed, read_result
from suite.tickets import About, Info, dense, networks
from suite.train import revive

TOLERANCE = 0.001  # of an accuracy: another device or torch rounds otherwise
_FORMS = ("ticket", *dense.FORMS, "pt")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    args = _parse(argv)
    commands = {"info": _info, "verify": _verify, "eval": _eval, "export": _export}
    return commands[args.command](args)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m suite.tickets", description="Trained networks as small files.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path, metavar="DIR", help="data sets; default: $SUITE_DATA, else data")
    common.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    info = commands.add_parser("info", help="what a network's file says, and where its bytes go")
    info.add_argument("networks", type=Path, nargs="+", metavar="NETWORK", help="a file, a trial's folder, or results")
    info.add_argument("--json", action="store_true", help="a line of JSON for each")
    verify = commands.add_parser("verify", parents=[common], help="evaluate again, and compare with what is recorded")
    verify.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK", help="a file, a trial's folder, or results"
    )
    verify.add_argument("--tolerance", type=float, default=TOLERANCE, help="of an accuracy; default: %(default)s")
    evaluation = commands.add_parser("eval", parents=[common], help="accuracy and loss on a split")
    evaluation.add_argument("network", type=Path, metavar="NETWORK")
    evaluation.add_argument("--split", choices=("train", "val", "test"), default="test")
    evaluation.add_argument("--dataset", metavar="NAME", help="other data than it was trained on")
    export = commands.add_parser("export", parents=[common], help="write a network in another form")
    export.add_argument(
        "network", type=Path, metavar="NETWORK", help="a file, or a trial's folder, unfinished ones too"
    )
    export.add_argument("--form", choices=_FORMS, default="fp32", help="pt: torch.save of the state_dict")
    export.add_argument("--to", type=Path, required=True, metavar="FILE")
    return parser.parse_args(argv)


def _info(args: argparse.Namespace) -> int:
    found = [(path, tickets.info(path)) for path in _files(args.networks)]
    if args.json:
        for path, info in found:
            said = info.header.model_dump(exclude={"layers", "tensors", "digest", "sources"})
            print(json.dumps({"path": str(path), **info.stored.model_dump(), "num_weights": info.num_weights, **said}))
    elif len(found) == 1:
        print(_told(*found[0]))
    else:
        rows = [(path, info.stored.form, info.num_weights, info.stored.bytes, _bits(info)) for path, info in found]
        print(tabulate(rows, ("network", "form", "weights", "bytes", "bits a weight"), tablefmt="simple"))
    return 0


def _told(path: Path, info: Info) -> str:
    about = info.header
    network = about.network
    lines = [
        ("file", path),
        ("network", f"{network.name} x{network.width_mult:g}" if network else "of its own: load needs it (model)"),
        ("method", about.method),
        ("trial", about.trial_id or "of its own"),
        *((key, f"{value:.6g}") for key, value in about.metrics.items() if value is not None),
        ("weights", info.num_weights),
        ("bytes", f"{info.stored.bytes} ({_bits(info)} bits a weight)"),
        *((f"bytes of {part}", size) for part, size in info.stored.parts.items()),
    ]
    if info.entropy_bytes is not None:
        lines.append(("entropy of mask and theta", round(info.entropy_bytes)))
    return tabulate(lines, tablefmt="plain", disable_numparse=True)


def _bits(info: Info) -> str:
    return f"{8 * info.stored.bytes / max(info.num_weights, 1):.3f}"


def _verify(args: argparse.Namespace) -> int:
    loaded: dict[str, Data] = {}
    rows, wrong = [], 0
    for path in _files(args.networks):
        about = tickets.info(path).header
        trial = _trial_of(path, about)
        _check_record(path, about)
        key = trial.dataset.model_dump_json()
        if key not in loaded:
            loaded = {key: revive.load_data(trial, args.data_dir, torch.device(args.device))}
        images = loaded[key]
        if images.data_id != about.data_id:
            raise InputError(f"{path}: was trained on other data: {about.data_id}, here {images.data_id}")
        model = tickets.load(path)
        for split in ("val", "test"):
            if (recorded := about.metrics.get(f"{split}/top1")) is None:
                continue
            now = revive.evaluated(trial, model, images, split, torch.device(args.device)).top1
            off = round(abs(now - recorded) * images.num_images(split))
            verdict = "equal" if off == 0 else f"{off} images differ"
            wrong += abs(now - recorded) > args.tolerance
            rows.append((path, f"{split}/top1", f"{recorded:.4f}", f"{now:.4f}", verdict))
    print(tabulate(rows, ("network", "measure", "recorded", "now", ""), tablefmt="simple", disable_numparse=True))
    return 1 if wrong else 0


def _eval(args: argparse.Namespace) -> int:
    (path,) = _files([args.network])
    about = tickets.info(path).header
    trial = _trial_of(path, about, **({"dataset": args.dataset} if args.dataset else {}))
    device = torch.device(args.device)
    images = revive.load_data(trial, args.data_dir, device)
    _check_fits(path, about, images)
    found = revive.evaluated(trial, tickets.load(path), images, args.split, device)
    loss = f"{args.split}/loss {found.loss:.6f}"
    print(f"{args.split}/top1 {found.top1:.6f}  {loss}  ({len(found.predictions)} images of {trial.dataset.name})")
    return 0


def _export(args: argparse.Namespace) -> int:
    folder = args.network
    if folder.is_dir() and not any((folder / name).exists() for name in (TICKET, DENSE)):
        size = _export_unfinished(args, folder)
    else:
        (path,) = _files([folder])
        header, model = tickets.info(path).header, tickets.load(path)
        if args.form == "ticket":
            raise InputError(f"{path}: --form ticket: is made while the optimizer is there, or of an unfinished trial")
        size = _write(args, model, header.method, header)
    print(f"written: {args.to} ({size} bytes)")
    return 0


def _export_unfinished(args: argparse.Namespace, folder: Path) -> int:
    trial = sweepfile.find_trial(folder.absolute().name, folder.absolute().parent.parent / "sweeps")
    run = revive.from_checkpoint(trial, folder, args.data_dir)
    about = About(trial_id=trial.trial_id, trial=identity(trial), data_id=run.data.data_id)
    if args.form != "ticket":
        return _write(args, run.model, trial.method.name, networks.named(run.model, about))
    if not run.optimizer.masked:
        raise InputError(
            f"{folder}: --form ticket: {trial.method.name} has no mask: must be one of fp32, bf16, int8, pt"
        )
    return tickets.save(args.to, run.model, run.optimizer, about=about).bytes


def _write(args: argparse.Namespace, model: nn.Module, method: str, header: About) -> int:
    if args.form == "pt":
        content = io.BytesIO()
        torch.save(model.state_dict(), content)
        return dense.write(args.to, content.getvalue())
    about = About(**{key: value for key, value in dict(header).items() if key in About.model_fields})
    state = model.state_dict()
    packed = dense.pack(state, args.form, method=method, about=about)
    if args.form != "fp32" and about.metrics:  # what is recorded is of other numbers
        model.load_state_dict(dense.rounded(state, args.form))
        packed = dense.pack(state, args.form, method=method, about=_evaluated_again(args, model, about))
    return dense.write(args.to, packed)


def _evaluated_again(args: argparse.Namespace, model: nn.Module, about: About) -> About:
    device = torch.device(args.device)
    trial = _trial_of(args.network, about)
    images = revive.load_data(trial, args.data_dir, device)
    found: dict[str, float | None] = {}
    for split in ("val", "test"):
        if f"{split}/top1" in about.metrics:
            now = revive.evaluated(trial, model, images, split, device)
            found |= {f"{split}/top1": now.top1, f"{split}/loss": now.loss}
    return about.model_copy(update={"metrics": found})


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The files of the networks that are meant."""
    for path in given:
        folders = [path] if not (path / "trials").is_dir() else sorted(listed(path / "trials"))
        found = [folder / name for folder in folders for name in (TICKET, DENSE) if (folder / name).exists()]
        if path.is_dir() and not found:
            raise InputError(f"{path}: holds no network: trials leave one where keep_network is true")
        yield from found or [path]


def _trial_of(path: Path, about: About, **changes: str) -> Trial:
    if about.trial is None:
        raise InputError(
            f"{path}: says nothing of its training: load it with suite.tickets.load, and evaluate it there"
        )
    return sweepfile.trial_from(about.trial | changes, f"{path}: trial")


def _check_fits(path: Path, about: About, images: Data) -> None:
    """Raise InputError where a network takes other images, or tells other classes apart, than those of a data set."""
    for key in ("image_size", "in_channels", "num_classes") if about.network else ():
        if (own := getattr(about.network, key)) != (theirs := getattr(images, key)):
            raise InputError(f"{path}: {key}: the network has {own}, the data set {theirs}")


def _check_record(path: Path, about: About) -> None:
    """Raise InputError where the record beside a network is of another one."""
    result = read_result(path.parent) if path.name in (TICKET, DENSE) else None
    if result is None:
        return
    recorded = {key: value for key, value in result.metrics.items() if not key.startswith("train/")}
    if (result.trial_id, recorded) != (about.trial_id, about.metrics):
        raise InputError(f"{path}: is of trial {about.trial_id} and says {about.metrics}: the record beside it differs")


if __name__ == "__main__":
    sys.exit(cli.run(main))
