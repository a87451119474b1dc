"""What numba's Python lacks: memory at an address, its prefetch, a fused multiply-add, and bits read as a number."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numba.np import arrayobj

# Without these options compiled code would call numba: it allocates nothing, raises nothing, and is called by address.
jit = numba.njit(nogil=True, error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
WORDS: dict[Any, Any] = {np.float32: np.uint32, np.float64: np.uint64}


@intrinsic  # type: ignore[untyped-decorator]
def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once, as torch's ``add(alpha=)``."""
    return a(a, b, c), lambda context, builder, signature, args: builder.fma(*args)


@intrinsic  # type: ignore[untyped-decorator]
def array(_: Any, address: Any, num: Any, dtype: Any) -> Any:
    """The ``num`` numbers at an address."""
    kind = types.Array(dtype.dtype, 1, "C")

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = arrayobj.make_array(kind)(context, builder)
        element = context.get_data_type(dtype.dtype)
        itemsize = context.get_constant(types.intp, context.get_abi_sizeof(element))
        data = builder.inttoptr(args[0], element.as_pointer())
        arrayobj.populate_array(made, data=data, shape=[args[1]], strides=[itemsize], itemsize=itemsize, meminfo=None)
        return made._getvalue()

    return kind(types.intp, types.intp, dtype), build


@intrinsic  # type: ignore[untyped-decorator]
def reinterpret(_: Any, bits: Any, like: Any) -> Any:
    """The number of the dtype of ``like`` that has these bits."""
    return like(bits, like), lambda context, builder, signature, args: builder.bitcast(args[0], args[1].type)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_: Any, address: Any) -> Any:
    """Ask for the line of memory at an address, to be written soon; no address is wrong."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        writes, nearest, data = (ir.Constant(number, value) for value in (1, 3, 1))
        builder.call(function, [builder.inttoptr(args[0], pointer), writes, nearest, data])
        return context.get_dummy_value()

    return types.void(types.intp), build
