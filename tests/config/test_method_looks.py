"""Each method of a figure is told from every other one, plugins included, by its colour and by its marker."""

from suite.config.method_looks import LOOKS, look_of
from suite.config.registry import REGISTRY


def test_no_two_methods_look_alike() -> None:
    own = [name for name, entry in REGISTRY.entries("method").items() if not entry.is_plugin]
    assert set(own) == set(LOOKS)
    methods = [*own, "one", "two", "three", "four"]
    looks = [look_of(name, methods) for name in methods]
    for part in ("name", "color", "marker"):
        assert len({getattr(look, part) for look in looks}) == len(methods), part
