"""An ONNX graph that grows node by node; sizes may be symbols: rows that are not known yet."""

import ast
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._extras import optional

OPSET = 18
"""The version of ONNX's operations: of December 2022, which runtimes of today all have."""
_IR_VERSION = 9  # of the file, of May 2023

_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}


def is_known(size: Any) -> bool:
    """Whether a size is a number, and no symbol."""
    return isinstance(size, (int, np.integer))


class Graph:
    """Nodes and constants; tensors are called by name.

    A symbolic size is read off a tensor that has it, when it is needed.
    """

    def __init__(self):
        self._onnx: Any = optional("onnx", "onnx")
        self._nodes: list[Any] = []
        self._names = itertools.count()
        self._constants: dict[Any, tuple[str, Any]] = {}
        self._where: dict[str, tuple[str, int]] = {}
        self._inputs = []

    def input(self, name: str, shape: Sequence[Any], dtype: Any) -> str:
        """An argument of the program."""
        self._inputs.append(self._description(name, shape, dtype))
        return self.remember(name, shape)

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output; returns its name."""
        return self.nodes(operation, 1, *inputs, **attributes)[0]

    def nodes(self, operation: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node of several outputs."""
        outputs = [f"_n{next(self._names)}" for _ in range(count)]
        self._nodes.append(self._onnx.helper.make_node(operation, inputs, outputs, **attributes))
        return outputs

    def loop(
        self,
        start: Sequence[str],
        like: Sequence[Any],
        goes_on: Callable[[Sequence[str]], str],
        turn: Callable[[Sequence[str]], Sequence[str]],
    ) -> list[str]:
        """A loop that goes on while a condition holds.

        Args:
            start: what the first turn is given.
            like: arrays of the same shapes and types.
            goes_on: adds the condition to the graph: a truth, from what the next turn is given.
            turn: adds a turn to the graph: what the next one is given.
        """
        condition = goes_on(start)
        outside, where = self._nodes, dict(self._where)
        self._nodes = []  # those of the body, which may use what is outside
        count, before, *given = (f"_n{next(self._names)}" for _ in range(2 + len(start)))
        # nodes of the body alone can be its results
        found = [self.node("Identity", one) for one in turn(given)]
        results = [self.node("Identity", goes_on(found)), *found]
        body = self._onnx.helper.make_graph(
            self._nodes,
            f"turn_{count}",
            [
                self._description(count, (), np.int64),
                self._description(before, (), bool),
                *(self._description(n, x.shape, x.dtype) for n, x in zip(given, like, strict=True)),
            ],
            [
                self._description(results[0], (), bool),
                *(
                    self._description(name, x.shape, x.dtype)
                    for name, x in zip(found, like, strict=True)
                ),
            ],
        )
        self._nodes, self._where = outside, where
        return self.nodes("Loop", len(start), "", condition, *start, body=body)

    def constant(self, value: Any) -> str:
        """A constant array; the same one is kept once."""
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"_c{len(self._constants)}"
            self._constants[key] = (name, self._onnx.numpy_helper.from_array(array, name))
        return self._constants[key][0]

    def integers(self, *values: Any) -> str:
        """A vector of constants that says axes, sizes or places."""
        return self.constant(np.array(values, np.int64))

    def sizes(self, shape: Sequence[Any]) -> str:
        """A vector of sizes, some of which may be symbols.

        Raises:
            NotImplementedError: if no tensor has one of these, nor what it is computed from.
        """
        if all(is_known(size) for size in shape):
            return self.integers(*shape)
        parts = [self.integers(size) if is_known(size) else self._size(str(size)) for size in shape]
        return self.node("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def remember(self, name: str, shape: Sequence[Any]) -> str:
        """Read symbolic sizes off this tensor from now on, where none had them before."""
        for axis, size in enumerate(shape):
            if not is_known(size):
                self._where.setdefault(str(size), (name, axis))
        return name

    def cast(self, name: str, dtype: Any) -> str:
        """The numbers as another type."""
        return self.node("Cast", name, to=self._type(dtype))

    def model(self, outputs: dict[str, tuple[str, Sequence[Any], Any]], version: str) -> bytes:
        """The file.

        Args:
            outputs: by the name that the program gives them, the tensor, its shape and its type.
            version: of what made it.
        """
        helper = self._onnx.helper
        for name, (tensor, _, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        graph = helper.make_graph(
            self._nodes,
            "mamlax",
            self._inputs,
            [self._description(name, *about) for name, (_, *about) in outputs.items()],
            [tensor for _, tensor in self._constants.values()],
        )
        model = helper.make_model(
            graph,
            producer_name="mamlax",
            producer_version=version,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()

    def _size(self, symbol: str) -> str:
        if symbol in self._where:
            name, axis = self._where[symbol]
            return self.node("Shape", name, start=axis, end=axis + 1)
        return self._computed(ast.parse(symbol, mode="eval").body)

    def _computed(self, written: ast.expr) -> str:
        """A size that is written as sums and products of others."""
        match written:
            case ast.Constant(value=int(number)):
                return self.integers(number)
            case ast.Name(id=symbol) if symbol in self._where:
                return self._size(symbol)
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
                of_both = (self._computed(left), self._computed(right))
                return self.node(_ARITHMETIC[type(operation)], *of_both)
        raise NotImplementedError(f"the size {ast.unparse(written)} is of no array")

    def _description(self, name: str, shape: Sequence[Any], dtype: Any) -> Any:
        sizes = [size if is_known(size) else str(size) for size in shape]
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), sizes)

    def _type(self, dtype: Any) -> int:
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
