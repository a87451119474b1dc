"""From a function that numba compiles to machine code that LLVM loads: compiled once, then numba is not needed."""

import ctypes
import hashlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from llvmlite import binding

_C_TYPES: dict[str, Any] = {"int64": ctypes.c_int64, "float64": ctypes.c_double}


class CannotCompile(Exception):
    """Machine code that would need more than LLVM at run time."""


def key_of(name: str) -> str:
    """A hash of all that the code of ``name`` depends on: sources, compilers, Python, processor."""
    described = [
        name,
        platform.machine(),
        sys.version,
        *(f"{package} {importlib.metadata.version(package)}" for package in ("numba", "llvmlite")),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        *_sources(),
    ]
    return hashlib.sha256("\0".join(described).encode()).hexdigest()


def _sources() -> Iterator[str]:
    here = resources.files("suite.methods.update")
    for file in (here / "machine_code.py", *sorted((here / "loops").iterdir(), key=lambda file: file.name)):
        if file.name.endswith(".py"):
            yield f"{file.name}\0{file.read_text(encoding='utf-8')}"


def compiled(function: Any, arguments: Sequence[str]) -> bytes:
    """The object code of numba's ``function`` for arguments of these types, "int64" or "float64"; it gives an int64.

    Raises:
        CannotCompile: it calls something that is not part of LLVM.
    """
    function.compile(f"({', '.join(arguments)})")
    [(signature, result)] = function.overloads.items()
    module = binding.parse_assembly(function.inspect_llvm(signature))
    called = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    if called:
        raise CannotCompile(f"calls {', '.join(called)}")
    return result.fndesc.llvm_func_name.encode() + b"\0" + _target_machine().emit_object(module)  # type: ignore[no-any-return]


class Function:
    """Machine code as a function of numbers; as long as it lives, so does the memory that holds the code.

    Raises:
        RuntimeError: LLVM cannot load it.
    """

    def __init__(self, code: bytes, arguments: Sequence[str]) -> None:
        name, _, loaded = code.partition(b"\0")
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(loaded))
        self._engine.finalize_object()
        address = self._engine.get_function_address(name.decode())
        if not address:
            raise RuntimeError(f"no function {name.decode()} in the code that was kept")
        kinds = [_C_TYPES[argument] for argument in arguments]
        # numba's functions take the addresses of their result and of an exception first.
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)(address)

    def __call__(self, *arguments: float) -> int:
        """The function's answer; other threads run meanwhile."""
        result = ctypes.c_int64()
        if status := self._call(ctypes.byref(result), None, *arguments):
            raise RuntimeError(f"compiled code: status {status}")
        return result.value


def _target_machine() -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    host = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return host.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)
