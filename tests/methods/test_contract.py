"""The contract of ``suite.methods``, held against every registered method: a new one needs no new test."""

import copy
import hashlib
import inspect
import io
import itertools
import pickle
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as dcp
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from suite import config, methods
from suite.methods.random import draw_scores_, draw_values_

NAMES = methods.names()
MASKED = [name for name in NAMES if methods.get(name).masked]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]
STATE = {"theta", "scores", "momentum_buffer"}
REQUIRED = {"lr": 0.1, "sparsity": 0.5}  # values for settings without a default
BY_SUFFIX = {"_every": 2, "_prob": 0.5}  # so that periodic work happens within few steps
INTERRUPTIONS = [0, 1, 2, 3, 5]
NUM_STEPS = 7

each_method = pytest.mark.parametrize("name", NAMES)
each_masked = pytest.mark.parametrize("name", MASKED)


def settings_of(name: str) -> dict[str, Any]:
    """Settings that any method can be built with, from its settings class alone."""
    out: dict[str, Any] = {"weight_decay": 0.01}
    for key, field in config.METHODS[name].model_fields.items():
        if key != "name" and field.is_required():
            out[key] = REQUIRED[key]
        out.update((key, value) for suffix, value in BY_SUFFIX.items() if key.endswith(suffix))
    return out


def net(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> nn.Sequential:
    """A convolution, a norm and a linear layer, with biases; 4x4 images of 2 channels."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).to(dtype)


def groups(name: str, model: nn.Module) -> list[dict[str, Any]]:
    """All parameters with their names: those that cannot be masked in a dense group of their own."""
    if not methods.get(name).masked:
        return [{"params": list(model.named_parameters())}]
    prunable = methods.prunable(model)
    others = [(key, param) for key, param in model.named_parameters() if key not in dict(prunable)]
    return [{"params": prunable}, {"params": others, "sparsity": None}]


def build(name: str, params: Iterable[Any], **settings: Any) -> Any:
    return methods.get(name)(params, **{**settings_of(name), **settings})


def pair(name: str, dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[nn.Sequential, Any]:
    model = net(dtype)
    return model, build(name, groups(name, model), **settings)


def params_of(optimizer: Optimizer) -> list[nn.Parameter]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def masked_params(optimizer: Any) -> list[tuple[nn.Parameter, dict[str, Any]]]:
    kept = [group for group in optimizer.param_groups if type(optimizer).masked and group["sparsity"] is not None]
    return [(param, group) for group in kept for param in group["params"]]


def give_grads(params: Iterable[nn.Parameter], step: int) -> None:
    """Gradients that belong to the step and depend on the parameters' values, as those of a loss do."""
    generator = torch.Generator().manual_seed(step)
    for param in params:
        noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        param.grad = torch.empty_like(param).copy_(noise + param.detach().double())


def advance(optimizer: Optimizer, steps: Iterable[int]) -> None:
    for step in steps:
        give_grads(params_of(optimizer), step)
        optimizer.step()


def bits(value: Any) -> Any:
    """Nested state as plain Python, tensors as dtype, shape and a hash of the logical bytes."""
    if isinstance(value, Tensor):
        flat = value.detach().contiguous().view(-1)
        digest = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
        return str(value.dtype), tuple(value.shape), digest[:16]
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    return value


def everything(optimizer: Optimizer) -> Any:
    """All that the optimizer knows, and the parameters. Empty states count as none."""
    known = bits(optimizer.state_dict())
    known["state"] = {key: state for key, state in known["state"].items() if state}
    return known, bits(params_of(optimizer))


def numbers(optimizer: Optimizer) -> Any:
    """``everything`` but the settings: for optimizers that differ in how they were given."""
    known, params = everything(optimizer)
    return known["state"], params


def check_effective(optimizer: Any) -> None:
    """Contract 2: theta where the mask keeps, +0.0 elsewhere, and exactly the sparsity's share removed."""
    assert masked_params(optimizer)
    for param, group in masked_params(optimizer):
        keep = optimizer.mask(param)
        assert keep.dtype == torch.bool
        assert keep.shape == param.shape
        assert (~keep).sum() == round(group["sparsity"] * (param.numel() - 1))
        assert bits(param) == bits(torch.where(keep, optimizer.state[param]["theta"], 0.0).to(param.dtype))
        assert not param[~keep].signbit().any()


# Settings, registry


@each_method
def test_settings_are_the_constructors_keys_and_defaults(name: str) -> None:
    parameters = dict(inspect.signature(methods.get(name)).parameters)
    assert next(iter(parameters)) == "params"
    assert parameters.pop("seed").default == 0
    del parameters["params"]
    fields = {key: field for key, field in config.METHODS[name].model_fields.items() if key != "name"}
    assert set(parameters) == set(fields)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    assert defaults == {
        key: inspect.Parameter.empty if field.is_required() else field.default for key, field in fields.items()
    }


@each_method
def test_a_method_is_an_optimizer_that_says_its_kind(name: str) -> None:
    cls = methods.get(name)
    assert issubclass(cls, Optimizer)
    assert isinstance(cls.masked, bool)
    assert cls.__module__ == f"suite.methods.{name}"


def bad_values(name: str) -> Iterable[Any]:
    """Every setting with values outside the range that its settings class names."""
    for key, field in config.METHODS[name].model_fields.items():
        if key == "name":
            continue
        limits = {type(limit).__name__: limit for limit in field.metadata}
        bad: list[Any] = [limits["Ge"].ge - 1] if "Ge" in limits else []
        bad += [limits["Gt"].gt - 1] if "Gt" in limits else []
        bad += [limits["Le"].le + 1] if "Le" in limits else []
        bad += [limits["Lt"].lt, limits["Lt"].lt + 1] if "Lt" in limits else []
        bad += [float("nan")] if field.annotation is float else []
        bad += [limits["Ge"].ge + 0.5] if field.annotation is int else []
        bad += ["no_such_choice"] if get_origin(field.annotation) is Literal else []
        assert bad, f"{key}: a setting without a range"
        yield from ((key, value) for value in bad)
    yield from (("seed", value) for value in (-1, 2**32, 0.5))


def refusals() -> list[Any]:
    """A case for each method, setting and bad value."""
    return [(name, key, value) for name in NAMES for key, value in bad_values(name)]


SGD_KEYS = {"lr", "momentum", "weight_decay"}


@pytest.mark.parametrize(("name", "key", "value"), refusals())
def test_a_setting_out_of_range_is_an_error(name: str, key: str, value: Any) -> None:
    """In the constructor and in a group; the settings class refuses it too."""
    text = re.escape(f"{key}: {value!r}: must be ")
    with pytest.raises(ValueError, match=f"^{text}"):
        build(name, [nn.Parameter(torch.zeros(3, 4))], **{key: value})
    with pytest.raises(ValueError, match=f"^{text}"):
        build(name, [{"params": [nn.Parameter(torch.zeros(3, 4))], key: value}])
    if key != "seed":
        with pytest.raises(ValidationError):
            config.METHODS[name](**{**settings_of(name), "name": name, key: value})


@each_method
@pytest.mark.parametrize("fan_in", [0, -3])
def test_fan_in_out_of_range_is_an_error(name: str, fan_in: int) -> None:
    with pytest.raises(ValueError, match=f"fan_in: {fan_in}: must be a whole number from 1"):
        build(name, [{"params": [nn.Parameter(torch.zeros(3, 4))], "fan_in": fan_in}])


@each_method
def test_a_refused_group_leaves_the_optimizer_as_it_was(name: str) -> None:
    optimizer = build(name, [nn.Parameter(torch.ones(3, 4))])
    before, weight = everything(optimizer), nn.Parameter(torch.ones(3, 4))
    with pytest.raises(ValueError, match="distribution: 'no_such_choice'"):
        optimizer.add_param_group({"params": [weight], "distribution": "no_such_choice"})
    assert everything(optimizer) == before
    assert torch.equal(weight, torch.ones(3, 4))


def test_an_unknown_method_is_an_error_with_the_names() -> None:
    with pytest.raises(ValueError, match=f"'edgepopup': must be one of {', '.join(NAMES)}"):
        methods.get("edgepopup")


TOY = """
from suite.methods.edge_popup import EdgePopup
class Toy(EdgePopup):
    "Another method."
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Register ``suite/methods/toy.py`` with the given source, for one test."""

    def register(source: str) -> None:
        (tmp_path / "toy.py").write_text(source)
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
        monkeypatch.setitem(config.METHODS, "toy", config.EdgePopupSettings)
        monkeypatch.setattr(methods, "toy", None, raising=False)  # both are set by the import: undone at the end
        monkeypatch.setitem(sys.modules, "suite.methods.toy", None)
        del sys.modules["suite.methods.toy"]

    return register


def test_a_file_and_a_settings_class_make_a_method(toy: Callable[[str], None]) -> None:
    assert "toy" not in methods.names()
    toy(TOY)
    assert methods.names() == (*NAMES, "toy")
    assert methods.get("toy").__name__ == "Toy"  # the class imported there does not count


def test_a_file_with_two_optimizers_is_an_error(toy: Callable[[str], None]) -> None:
    toy(TOY + TOY.replace("Toy", "Second"))
    with pytest.raises(ValueError, match=r"toy\.py: defines 2 optimizers: must define exactly one"):
        methods.get("toy")


def test_prunable_lists_the_weights_of_convolutions_and_linear_layers() -> None:
    inner = nn.Sequential(nn.Conv1d(1, 2, 3), nn.LayerNorm(2), nn.Embedding(3, 2), nn.ConvTranspose2d(2, 2, 2))
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "body": inner, "fc": nn.Linear(4, 2)})
    found = methods.prunable(model)
    assert [name for name, _ in found] == ["stem.weight", "body.0.weight", "body.3.weight", "fc.weight"]
    named = dict(model.named_parameters())
    assert all(param is named[name] for name, param in found)
    linear = nn.Linear(2, 2)
    [(name, param)] = methods.prunable(linear)
    assert name == "weight"
    assert param is linear.weight


# Draws


@each_method
@pytest.mark.parametrize("distribution", get_args(config.Distribution))
@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_depend_on_seed_and_position_alone(name: str, dtype: torch.dtype, distribution: str) -> None:
    """Whatever the parameters held, however they are grouped, whatever torch's own generator says."""
    model, optimizer = pair(name, dtype, distribution=distribution, seed=3)
    wide = torch.promote_types(dtype, torch.float32)
    for position, param in enumerate(params_of(optimizer)):
        if param.ndim < 2:
            continue
        where = {"fan_in": param[0].numel(), "seed": 3, "parameter": position}
        values = draw_values_(torch.empty(param.shape, dtype=wide), distribution, draw=0, **where)
        state = optimizer.state[param]
        if methods.get(name).masked:
            assert bits(state["theta"]) == bits(values)
            assert bits(state["scores"]) == bits(draw_scores_(values, "kaiming_uniform", **where))
            assert not state["momentum_buffer"].any()
        else:
            assert bits(param) == bits(values.to(dtype))
    assert torch.equal(model[0].bias, net(dtype)[0].bias)  # parameters with one dimension stay


@each_masked
def test_score_init_fan_in_uniform(name: str) -> None:
    weight = nn.Parameter(torch.zeros(50, 7, 3))
    optimizer = build(name, [weight], score_init="fan_in_uniform", seed=2)
    expected = draw_scores_(torch.empty(50, 7, 3), "fan_in_uniform", fan_in=21, seed=2, parameter=0)
    assert bits(optimizer.state[weight]["scores"]) == bits(expected)


@each_method
def test_fan_in_may_be_set_per_group(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(4, 6)) for _ in range(2)]
    given = [{"params": weights[:1], "fan_in": 50}, {"params": weights[1:]}]
    optimizer = build(name, given, distribution="signed_constant")
    thetas = [optimizer.state[w]["theta"] if methods.get(name).masked else w.detach() for w in weights]
    for theta, fan_in in zip(thetas, (50, 6), strict=True):
        torch.testing.assert_close(theta.abs(), torch.full((4, 6), (2 / fan_in) ** 0.5))


@each_method
def test_torchs_generator_is_neither_read_nor_moved(name: str) -> None:
    before = torch.get_rng_state()
    first = pair(name)[1]
    before = torch.get_rng_state()
    advance(first, range(4))
    assert torch.equal(torch.get_rng_state(), before)
    model = net()
    torch.manual_seed(99)
    second = build(name, groups(name, model))
    advance(second, range(4))
    assert everything(first) == everything(second)


@each_method
def test_equal_seeds_and_gradients_give_equal_bits(name: str) -> None:
    runs = [pair(name, seed=seed)[1] for seed in (5, 5, 6)]
    for optimizer in runs:
        advance(optimizer, range(NUM_STEPS))
    assert everything(runs[0]) == everything(runs[1])
    assert numbers(runs[0]) != numbers(runs[2])


def test_present_values_are_kept_without_a_distribution() -> None:
    weight = nn.Parameter(torch.arange(12.0).view(3, 4))
    build("weights", [weight], distribution=None)
    assert torch.equal(weight, torch.arange(12.0).view(3, 4))
    optimizer = build("edge_popup", [weight], distribution=None)
    assert torch.equal(optimizer.state[weight]["theta"], torch.arange(12.0).view(3, 4))
    check_effective(optimizer)


def test_weights_is_torch_sgd(slow: SimpleNamespace) -> None:
    model = slow.small_net()
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    optimizer = build("weights", model.parameters(), **settings)
    twin = copy.deepcopy(model)
    sgd = SGD(twin.parameters(), foreach=False, **settings)
    for step in range(20):
        losses = [slow.train_step(m, o, step, torch.float32) for m, o in ((model, optimizer), (twin, sgd))]
        assert slow.equal_bits(*losses)
    assert numbers(optimizer) == numbers(sgd)
    assert isinstance(optimizer, SGD)


# Effective weights and state


@each_masked
@pytest.mark.parametrize("rank_by", get_args(config.RankBy))
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_hold_effective_weights_at_all_times(name: str, dtype: torch.dtype, rank_by: str) -> None:
    _, optimizer = pair(name, dtype, rank_by=rank_by, distribution="kaiming_uniform")
    check_effective(optimizer)
    for step in range(NUM_STEPS):
        advance(optimizer, [step])
        check_effective(optimizer)
    other = pair(name, dtype, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    check_effective(other)
    assert bits(params_of(other)[:2]) == bits(params_of(optimizer)[:2])


@each_masked
def test_the_mask_follows_the_scores(name: str, slow: SimpleNamespace) -> None:
    _, optimizer = pair(name)
    for step in range(4):
        advance(optimizer, [step])
        for param, group in masked_params(optimizer):
            expected = slow.keep(optimizer.state[param]["scores"], group["sparsity"])
            assert torch.equal(optimizer.mask(param), expected)


@each_masked
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_names_shapes_and_dtypes(name: str, dtype: torch.dtype) -> None:
    _, optimizer = pair(name, dtype)
    other = pair(name, dtype, seed=9)[1]

    def check(optimizer: Any) -> None:
        for param, _ in masked_params(optimizer):
            assert set(optimizer.state[param]) >= STATE
            for key in STATE:
                tensor = optimizer.state[param][key]
                assert tensor.shape == param.shape
                assert tensor.dtype == torch.promote_types(dtype, torch.float32), key
                assert not tensor.requires_grad
            assert param.is_leaf
            assert param.requires_grad

    check(optimizer)
    advance(optimizer, range(3))
    check(optimizer)
    other.load_state_dict(optimizer.state_dict())
    check(other)
    assert [group["num_updates"] for group in other.param_groups] == [3] * len(other.param_groups)


@each_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_state_is_restored_in_its_own_dtypes(name: str, dtype: torch.dtype) -> None:
    _, optimizer = pair(name, dtype)
    advance(optimizer, range(3))
    other = pair(name, dtype, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    assert everything(other)[0] == everything(optimizer)[0]


@each_masked
def test_a_checkpoint_may_go_to_parameters_of_another_dtype(name: str) -> None:
    _, optimizer = pair(name, torch.float32)
    advance(optimizer, range(3))
    other = pair(name, torch.bfloat16, seed=9)[1]
    other.load_state_dict(optimizer.state_dict())
    assert bits(other.state_dict()["state"]) == bits(optimizer.state_dict()["state"])
    check_effective(other)


@each_method
def test_parameters_keep_their_storage(name: str) -> None:
    """DDP buckets, compiled graphs and fused kernels hold on to it."""
    _, optimizer = pair(name)
    params = params_of(optimizer)
    places = [param.data_ptr() for param in params]
    advance(optimizer, range(3))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(a is b for a, b in zip(params, params_of(optimizer), strict=True))
    assert [param.data_ptr() for param in params] == places


@each_method
def test_a_saved_state_holds_plain_values_only(name: str) -> None:
    """No generator's state, no object of ours: numbers, strings, lists and tensors."""
    _, optimizer = pair(name)
    advance(optimizer, range(2))
    plain = (int, float, str, bool, type(None), Tensor)
    saved = optimizer.state_dict()
    assert set(saved) == {"state", "param_groups"}
    for values in (*saved["state"].values(), *saved["param_groups"]):
        for value in values.values():
            assert all(type(item) in plain for item in (value if isinstance(value, list) else [value]))


@each_masked
def test_mask_of_an_unmasked_parameter_is_an_error(name: str) -> None:
    model, optimizer = pair(name)
    for param in (model[0].bias, nn.Parameter(torch.zeros(5, 3))):
        with pytest.raises(ValueError, match="not in a masked group"):
            optimizer.mask(param)


# Going on: files, copies, hooks


def through_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def restore(name: str, optimizer: Any, state: dict[str, Any]) -> Any:
    """A new model and optimizer of another seed, which takes ``state`` over.

    Parameters that are not masked are the model's to restore; masked ones come from the state alone.
    """
    model = net(seed=1)
    other = build(name, groups(name, model), seed=77)
    masked = {id(param) for param, _ in masked_params(other)}
    with torch.no_grad():
        for param, saved in zip(params_of(other), params_of(optimizer), strict=True):
            param.copy_(float("nan") if id(param) in masked else saved)
    other.load_state_dict(state)
    return other


@each_method
@pytest.mark.parametrize("transport", [lambda state: state, through_file], ids=["direct", "file"])
@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, interruption: int, transport: Callable[..., Any]) -> None:
    _, whole = pair(name)
    advance(whole, range(NUM_STEPS))
    _, first = pair(name)
    advance(first, range(interruption))
    second = restore(name, first, transport(first.state_dict()))
    assert everything(second) == everything(first)
    advance(second, range(interruption, NUM_STEPS))
    assert everything(second) == everything(whole)


@each_method
@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["deepcopy", "pickle"]
)
def test_copies_go_on_equally_and_apart(name: str, clone: Callable[..., Any]) -> None:
    model, optimizer = pair(name)
    advance(optimizer, range(3))
    before = everything(optimizer)
    model_2, optimizer_2 = clone((model, optimizer))
    assert all(a is b for a, b in zip(params_of(optimizer_2), params_in_order(name, model_2), strict=True))
    advance(optimizer_2, range(3, NUM_STEPS))
    assert everything(optimizer) == before
    advance(optimizer, range(3, NUM_STEPS))
    assert everything(optimizer_2) == everything(optimizer)


def params_in_order(name: str, model: nn.Module) -> list[nn.Parameter]:
    return [param for group in groups(name, model) for _, param in group["params"]]


@each_method
def test_load_state_dict_pre_hook_may_replace_the_state(name: str) -> None:
    _, wanted = pair(name, seed=5)
    advance(wanted, range(3))
    _, other = pair(name, seed=6)
    advance(other, range(2))
    given = other.state_dict()
    _, optimizer = pair(name, seed=7)
    optimizer.register_load_state_dict_pre_hook(lambda _, state: wanted.state_dict() if state is not None else None)
    optimizer.load_state_dict(given)
    assert everything(optimizer)[0] == everything(wanted)[0]
    if methods.get(name).masked:
        check_effective(optimizer)


@each_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_load_state_dict_post_hook_sees_what_was_restored(name: str, dtype: torch.dtype) -> None:
    _, saved = pair(name, dtype, seed=5)
    advance(saved, range(3))
    _, optimizer = pair(name, dtype, seed=6)
    seen: list[Any] = []
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(everything(opt)))
    optimizer.register_load_state_dict_post_hook(lambda opt: seen.append(everything(opt)), prepend=True)
    optimizer.load_state_dict(saved.state_dict())
    assert seen == [everything(optimizer)] * 2
    assert everything(optimizer)[0] == everything(saved)[0]
    num_hooks = (
        len(optimizer._optimizer_load_state_dict_post_hooks),
        len(optimizer._optimizer_load_state_dict_pre_hooks),
    )
    assert num_hooks == (2, 0)  # none of the method's own is left


@each_method
def test_loading_changes_neither_the_given_dict_nor_hangs_on_to_it(name: str) -> None:
    _, saved = pair(name)
    advance(saved, range(3))
    given = copy.deepcopy(saved.state_dict())
    _, optimizer = pair(name, seed=6)
    optimizer.load_state_dict(given)
    assert bits(given) == bits(saved.state_dict())
    if methods.get(name).masked:  # torch's SGD does share its buffers with the dict
        advance(optimizer, range(2))
        assert bits(given) == bits(saved.state_dict())


def foreign_states() -> list[Any]:
    """A state of each other method for each masked one."""
    return [
        (name, source)
        for name, source in itertools.permutations(NAMES, 2)
        if name in MASKED and not set(settings_keys(name)) <= set(settings_keys(source))
    ]


def settings_keys(name: str) -> list[str]:
    return list(config.METHODS[name].model_fields)


@pytest.mark.parametrize(("name", "source"), foreign_states())
def test_the_state_of_another_method_is_an_error(name: str, source: str) -> None:
    weights = [nn.Parameter(torch.ones(4, 6)) for _ in range(2)]
    optimizer, other = build(name, weights[:1]), build(source, weights[1:])
    advance(other, range(2))
    with pytest.raises(ValueError, match="saved by another method"):
        optimizer.load_state_dict(other.state_dict())


@each_masked
@pytest.mark.parametrize("key", sorted(STATE))
def test_a_state_without_a_part_is_an_error(name: str, key: str) -> None:
    _, optimizer = pair(name)
    given = copy.deepcopy(optimizer.state_dict())
    del given["state"][1][key]
    with pytest.raises(ValueError, match=f"saved state of parameter 1: {key} is missing"):
        optimizer.load_state_dict(given)


def round_trips() -> list[Any]:
    """(method, steps before saving, flatten, how many of its groups)."""
    return [
        (name, steps, flatten, num)
        for name, steps, flatten in itertools.product(NAMES, (0, 3), (False, True))
        for num in ((1, 2) if name in MASKED else (1,))
    ]


@pytest.mark.parametrize(("name", "num_steps", "flatten", "num_groups"), round_trips())
def test_distributed_checkpoint_round_trip(name: str, num_steps: int, flatten: bool, num_groups: int) -> None:
    """State by parameter name, as ``torch.distributed.checkpoint`` stores it; saved also before any step."""
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flatten)
    models = [net(), net()]
    first, second = (
        build(name, groups(name, model)[:num_groups], seed=seed) for model, seed in zip(models, (5, 6), strict=True)
    )
    advance(first, range(num_steps))
    first.zero_grad()
    saved = copy.deepcopy(dcp.get_optimizer_state_dict(models[0], first, options=options))
    dense = [
        (a, b) for a, b in zip(params_of(second), params_of(first), strict=True) if name not in MASKED or a.ndim < 2
    ]
    for target, source in dense:
        target.data.copy_(source)
    dcp.set_optimizer_state_dict(models[1], second, saved, options=options)
    assert numbers(second) == numbers(first)
    for optimizer in (first, second):
        advance(optimizer, range(num_steps, NUM_STEPS))
    assert numbers(second) == numbers(first)


@each_method
def test_step_hooks(name: str) -> None:
    model, optimizer = pair(name)
    twin_model, twin = pair(name)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append(("pre", bits(params_of(opt)))))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append(("post", bits(params_of(opt)))))
    before = bits(params_of(optimizer))
    advance(optimizer, [0])
    advance(twin, [0])
    assert seen == [("pre", before), ("post", bits(params_of(twin)))]
    assert bits(model.state_dict()) == bits(twin_model.state_dict())


# Steps


@each_method
def test_closure(name: str) -> None:
    model, optimizer = pair(name)
    twin, twin_optimizer = pair(name)
    images, classes = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])

    def loss_of(model: nn.Module, optimizer: Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), classes)
        loss.backward()
        return loss

    for _ in range(3):
        loss = optimizer.step(lambda: loss_of(model, optimizer))
        expected = loss_of(twin, twin_optimizer)
        assert twin_optimizer.step() is None
        assert torch.equal(loss, expected)
    assert everything(optimizer) == everything(twin_optimizer)


SCHEDULERS = {
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=NUM_STEPS),
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
}


def scheduled(optimizer: Optimizer, scheduler: LRScheduler) -> list[float]:
    rates = []
    for step in range(NUM_STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        advance(optimizer, [step])
        scheduler.step()
    return rates


@each_method
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers(name: str, schedule: str) -> None:
    """The rate is read at each step: a scheduler equals writing it into the groups by hand."""
    optimizer, by_hand, constant = (pair(name)[1] for _ in range(3))
    rates = scheduled(optimizer, SCHEDULERS[schedule](optimizer))
    assert len(set(rates)) == NUM_STEPS
    for step, rate in enumerate(rates):
        for group in by_hand.param_groups:
            group["lr"] = rate
        advance(by_hand, [step])
    advance(constant, range(NUM_STEPS))
    assert numbers(optimizer) == numbers(by_hand)
    assert numbers(optimizer) != numbers(constant)


@each_method
def test_learning_rate_as_a_tensor(name: str) -> None:
    """Equals the float of the same value, also after a scheduler has changed it in place and through a file."""
    _, optimizer = pair(name, lr=torch.tensor(0.125))
    _, twin = pair(name, lr=0.125)
    advance(optimizer, range(3))
    advance(twin, range(3))
    assert numbers(optimizer) == numbers(twin)
    for opt in (optimizer, twin):
        for group in opt.param_groups:
            group["lr"] = torch.tensor(0.25) if opt is optimizer else 0.25
    resumed = restore(name, optimizer, through_file(optimizer.state_dict()))
    advance(resumed, range(3, NUM_STEPS))
    advance(twin, range(3, NUM_STEPS))
    assert numbers(resumed) == numbers(twin)
    assert isinstance(resumed.param_groups[0]["lr"], Tensor)


@each_method
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers_with_a_tensor(name: str, schedule: str) -> None:
    weights = [nn.Parameter(torch.zeros(4, 6)) for _ in range(2)]
    optimizer, twin = build(name, weights[:1], lr=torch.tensor(0.125)), build(name, weights[1:], lr=0.125)
    scheduler = SCHEDULERS[schedule](optimizer)
    for step in range(NUM_STEPS):
        twin.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].item()
        advance(optimizer, [step])
        advance(twin, [step])
        scheduler.step()
    assert twin.param_groups[0]["lr"] < 0.125
    assert numbers(optimizer) == numbers(twin)


@each_method
def test_a_group_added_later_equals_one_given_at_once(name: str) -> None:
    together, apart = net(), net()
    at_once = build(name, groups(name, together))
    first, *rest = groups(name, apart)
    later = build(name, [{"params": first["params"][:1]}])
    for group in ({"params": first["params"][1:]}, *rest):
        later.add_param_group(group)
    assert numbers(later) == numbers(at_once)
    assert all(len(group["params"]) == len(group["param_names"]) for group in later.param_groups)
    if methods.get(name).masked:
        check_effective(later)
    advance(at_once, range(NUM_STEPS))
    advance(later, range(NUM_STEPS))
    assert numbers(later) == numbers(at_once)


@each_method
def test_a_group_added_between_steps_counts_from_there(name: str) -> None:
    weights = [nn.Parameter(torch.ones(4, 6)) for _ in range(2)]
    optimizer = build(name, weights[:1])
    advance(optimizer, range(3))
    before = bits(weights[0])
    optimizer.add_param_group({"params": weights[1:], "lr": 0.5})
    assert bits(weights[0]) == before
    assert not torch.equal(weights[1], torch.ones(4, 6))
    advance(optimizer, range(2))
    if methods.get(name).masked:
        assert [group["num_updates"] for group in optimizer.param_groups] == [5, 2]
        check_effective(optimizer)


@each_method
def test_names_change_no_number(name: str) -> None:
    model, optimizer = pair(name)
    unnamed_model = net()
    unnamed = [{**g, "params": [param for _, param in g["params"]]} for g in groups(name, unnamed_model)]
    twin = build(name, unnamed)
    advance(optimizer, range(3))
    advance(twin, range(3))
    assert numbers(optimizer) == numbers(twin)
    named = [param_name for group in optimizer.state_dict()["param_groups"] for param_name in group["param_names"]]
    assert sorted(named) == sorted(dict(model.named_parameters()))


@each_method
def test_memory_format_changes_no_number(name: str) -> None:
    """Equal gradients give equal updates; a state may move between formats."""
    models = [net(), net().to(memory_format=torch.channels_last), net().to(memory_format=torch.channels_last)]
    assert models[1][0].weight.stride() != models[0][0].weight.stride()
    plain, other, moved = (build(name, groups(name, model)) for model in models)
    advance(plain, range(3))
    advance(other, range(3))
    assert everything(plain) == everything(other)
    moved.load_state_dict(copy.deepcopy(plain.state_dict()))
    for target, source in zip(params_of(moved), params_of(plain), strict=True):
        assert bits(target) == bits(source) or not any(target is param for param, _ in masked_params(moved))
        target.data.copy_(source)
    assert models[2][0].weight.is_contiguous(memory_format=torch.channels_last)
    for optimizer in (plain, other, moved):
        advance(optimizer, range(3, NUM_STEPS))
    assert everything(plain) == everything(other) == everything(moved)


@each_method
def test_a_step_that_the_gradient_scaler_skips_does_not_count(name: str) -> None:
    model, optimizer = pair(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    images, classes = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    twin, twin_optimizer = pair(name)
    for overflow in (False, True, True, False, False):
        optimizer.zero_grad()
        scaler.scale(F.cross_entropy(model(images), classes)).backward()
        if overflow:
            model[0].weight.grad[0, 0, 0, 0] = float("inf")
        else:
            twin_optimizer.zero_grad()
            F.cross_entropy(twin(images), classes).backward()
            twin_optimizer.step()
        before = everything(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert (everything(optimizer) == before) == overflow
    assert everything(optimizer) == everything(twin_optimizer)


@each_method
def test_a_parameter_without_a_gradient_is_passed_over(name: str) -> None:
    model, optimizer = pair(name)
    advance(optimizer, range(3))
    give_grads(params_of(optimizer), 3)
    model[0].weight.grad = None
    before = bits(model[0].weight), bits(optimizer.state[model[0].weight])
    others = bits(model[4].weight)
    optimizer.step()
    assert (bits(model[0].weight), bits(optimizer.state[model[0].weight])) == before
    assert bits(model[4].weight) != others
    optimizer.zero_grad()
    before_all = bits(params_of(optimizer))
    optimizer.step()
    assert bits(params_of(optimizer)) == before_all
    if methods.get(name).masked:  # a step is a step: the redraws of IteRand keep their rhythm
        assert [group["num_updates"] for group in optimizer.param_groups] == [5, 5]


@each_method
def test_a_parameter_passed_over_from_the_start_does_not_shift_the_draws(name: str) -> None:
    """Draws go by position in the optimizer, not among those that have a gradient."""
    _, optimizer = pair(name)
    _, twin = pair(name)
    for step in range(4):
        for opt, skipped in ((optimizer, True), (twin, False)):
            give_grads(params_of(opt), step)
            if skipped:
                params_of(opt)[0].grad = None
            opt.step()
    assert bits(params_of(optimizer)[1:]) == bits(params_of(twin)[1:])


@each_method
def test_what_is_not_passed_is_not_touched(name: str) -> None:
    model = net()
    before = bits(model.state_dict())
    optimizer = build(name, [model[0].weight])
    give_grads(model.parameters(), 0)
    optimizer.step()
    after = bits(model.state_dict())
    assert [key for key in before if before[key] != after[key]] == ["0.weight"]


# Groups of masked methods


@each_masked
@pytest.mark.parametrize("named", [True, False])
def test_a_masked_parameter_needs_two_dimensions(name: str, named: bool) -> None:
    model = net()
    params = model[0].named_parameters() if named else model[0].parameters()
    who = "bias" if named else "number 1 of its group"
    with pytest.raises(ValueError, match=rf"^parameter {who}: shape \(4,\)") as caught:
        build(name, params)
    text = str(caught.value)
    assert "methods.prunable(model)" in text
    assert "sparsity=None" in text


@each_masked
def test_a_dense_group_is_trained_by_sgd_in_the_same_step(name: str) -> None:
    model, twin = net(), net()
    settings = {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.02}
    optimizer = build(name, groups(name, model), **settings)
    dense = [param for _, param in groups(name, twin)[1]["params"]]
    sgd = SGD(dense, foreach=False, **settings)
    ours = optimizer.param_groups[1]["params"]
    assert len(ours) == 4
    for step in range(NUM_STEPS):
        give_grads(params_of(optimizer), step)
        for param, other in zip(ours, dense, strict=True):
            other.grad = param.grad.clone()
        optimizer.step()
        sgd.step()
        assert bits(ours) == bits(dense)
    assert [bits(optimizer.state[param]) for param in ours] == [bits(sgd.state[param]) for param in dense]


@each_masked
def test_all_groups_may_be_dense(name: str) -> None:
    model = net()
    optimizer = build(name, model.named_parameters(), sparsity=None)
    advance(optimizer, range(2))
    resumed = restore_dense(name, optimizer)
    advance(optimizer, range(2, 5))
    advance(resumed, range(2, 5))
    assert everything(optimizer) == everything(resumed)


def restore_dense(name: str, optimizer: Any) -> Any:
    other = build(name, net(seed=1).named_parameters(), sparsity=None, seed=4)
    for param, saved in zip(params_of(other), params_of(optimizer), strict=True):
        param.data.copy_(saved)
    other.load_state_dict(through_file(optimizer.state_dict()))
    return other


@each_masked
def test_groups_may_differ_in_sparsity(name: str) -> None:
    weights = [nn.Parameter(torch.zeros(10, 10)) for _ in range(3)]
    given = [{"params": [weight], "sparsity": p} for weight, p in zip(weights, (0.0, 0.3, 0.99), strict=True)]
    optimizer = build(name, given)
    advance(optimizer, range(3))
    check_effective(optimizer)
    assert [int((~optimizer.mask(weight)).sum()) for weight in weights] == [0, 30, 98]


@each_masked
def test_a_divergence_keeps_the_count_of_the_mask(name: str) -> None:
    """NaN and infinite gradients: the scores are lost, the mask stays exact and the weights finite."""
    weight = nn.Parameter(torch.zeros(6, 7))
    optimizer = build(name, [weight])
    for value in (float("inf"), float("nan"), 1.0):
        weight.grad = torch.full_like(weight, value)
        optimizer.step()
        check_effective(optimizer)
        assert weight.isfinite().all()
