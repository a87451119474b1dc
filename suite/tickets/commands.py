"""What ``python -m suite.tickets`` does: looks into stored networks, and checks them."""

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from suite import methods, tickets
from suite.config import InputError, identity
from suite.records import DENSE, TICKET, kept_plans, listed
from suite.tickets import Info, NetworkMetadata, dense, networks
from suite.tickets.verify import SPLITS, Check, Evaluator, check_fits, trial_of
from suite.train import restore


def run(args: argparse.Namespace) -> int:
    """Run one of the commands; returns its exit status."""
    commands = {"info": _info, "verify": _verify, "eval": _eval, "export": _export}
    return commands[args.command](args)


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
    if not args.tolerance >= 0:
        raise InputError(f"--tolerance: {args.tolerance}: must be at least 0")
    evaluator, rows, all_right = _evaluator(args), [], True
    for path in list(_files(args.networks)):
        try:
            checks = evaluator.check(path)
        except InputError as error:  # one that is broken does not hide the others
            checks = [Check("", None, None, problem.removeprefix(f"{path}: ")) for problem in error.problems]
            all_right = False
        for measure, recorded, now, verdict in checks:
            values = ["" if value is None else f"{value:.4f}" for value in (recorded, now)]
            rows.append((path, measure, *values, verdict))
            if recorded is not None and now is not None:
                all_right &= abs(now - recorded) <= args.tolerance
    print(tabulate(rows, ("network", "measure", "recorded", "now", ""), tablefmt="simple", disable_numparse=True))
    return 0 if all_right else 1


def _eval(args: argparse.Namespace) -> int:
    path = _file(args.network)
    about, evaluator = tickets.info(path).header, _evaluator(args)
    trial = trial_of(path, about, **({"dataset": args.dataset} if args.dataset else {}))
    images = evaluator.images(trial)
    check_fits(path, about, images)
    found = evaluator.accuracies(trial, tickets.load(path), (args.split,))
    told = "  ".join(f"{key} {value:.6f}" for key, value in found.items())
    print(f"{told}  ({images.num_images(args.split)} images of {trial.dataset.name})")
    return 0


def _export(args: argparse.Namespace) -> int:
    folder: Path = args.network
    if not args.to.parent.is_dir() or args.to.is_dir():
        raise InputError(f"--to {args.to}: must be a file in a folder that exists")
    is_trial = folder.is_dir() and folder.absolute().parent.name == "trials"
    if is_trial and not any((folder / name).exists() for name in (TICKET, DENSE)):
        size = _export_unfinished(args, folder)
    else:
        path = _file(folder)
        if args.form == "ticket":
            raise InputError(f"{path}: --form ticket: is made while the optimizer is there, or of an unfinished trial")
        header = tickets.info(path).header
        size = _write(args, path, tickets.load(path), header.method, header)
    print(f"written: {args.to} ({size} bytes)")
    return 0


def _export_unfinished(args: argparse.Namespace, folder: Path) -> int:
    trial = kept_plans.find_trial(folder.absolute().name, folder.absolute().parent.parent)
    run = restore.from_checkpoint(trial, folder, args.data_dir)
    about = NetworkMetadata(trial_id=trial.trial_id, trial=identity(trial), data_id=run.data.data_id)
    if args.form != "ticket":
        return _write(args, folder, run.model, trial.method.name, networks.with_build_arguments(run.model, about))
    if methods.trains_weights(run.optimizer):
        others = ", ".join((*dense.FORMS, *dense.SPARSE_FORMS, "pt"))
        raise InputError(f"{folder}: --form ticket: {trial.method.name} trains weights: must be one of {others}")
    return tickets.save(args.to, run.model, run.optimizer, about=about).bytes


def _write(args: argparse.Namespace, path: Path, model: nn.Module, method: str, about: NetworkMetadata) -> int:
    if args.form == "pt":
        content = io.BytesIO()
        torch.save(model.state_dict(), content)
        return dense.write(args.to, content.getvalue())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(dense.rounded(state, args.form))
    same = all(networks.same_bits(tensor, state[name]) for name, tensor in model.state_dict().items())
    if about.metrics and not same:  # what is recorded is of other numbers
        splits = tuple(split for split in SPLITS if f"{split}/top1" in about.metrics)
        found = _evaluator(args).accuracies(trial_of(path, about), model, splits)
        about = about.model_copy(update={"metrics": found})
    return dense.write(args.to, dense.pack(state, args.form, method=method, about=about))


def _evaluator(args: argparse.Namespace) -> Evaluator:
    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # torch has many words for one that is not there
        raise InputError(f"--device {name}: {str(error).splitlines()[0][:200]}") from None
    return Evaluator(args.data_dir, device)


def _file(path: Path) -> Path:
    """The one network that is meant."""
    found = list(_files([path]))
    if len(found) > 1:
        raise InputError(f"{path}: holds {len(found)} networks: name one of them, as {found[0]}")
    return found[0]


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The files of the networks that are meant."""
    for path in given:
        folders = [path] if not (path / "trials").is_dir() else sorted(listed(path / "trials"))
        found = [folder / name for folder in folders for name in (TICKET, DENSE) if (folder / name).exists()]
        if path.is_dir() and not found:
            raise InputError(f"{path}: holds no network: a trial that is done leaves one where keep_network is true")
        yield from found or [path]
