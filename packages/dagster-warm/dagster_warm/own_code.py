"""Tells the user's modules from libraries, and compiles them so that their calls are seen.

`f(x)` becomes `__dagster_warm__(f, 1)(x)`: a function that looks at `f` and returns it. The call itself stays where it
was, in the user's frame. So what a module does, its line numbers, and what `locals`, `super` or a warning find there
are as without it.
"""

import ast
import sysconfig
from collections.abc import Collection
from pathlib import Path
from types import CodeType
from typing import TypeVar

import dagster as dg

LOOK = "__dagster_warm__"
"""The built-in name of the function that looks. It takes a callable and the number of its arguments."""

_Function = TypeVar("_Function", ast.FunctionDef, ast.AsyncFunctionDef)
_Definition = TypeVar("_Definition", ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class OwnCode:
    """Tells the user's modules from libraries."""

    def __init__(self, packages: Collection[str], file: Path | None = None) -> None:
        """Count these top-level packages and this file as own, wherever they are installed."""
        self._packages = frozenset(packages)
        self._file = file and file.resolve()
        paths = sysconfig.get_paths()
        libraries = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
        libraries |= {str(Path(one).parent) for one in (dg.__file__, __file__)}
        self._libraries = [Path(folder).resolve() for folder in libraries]

    def includes(self, module: str, path: Path) -> bool:
        """Return whether a module, loaded from this path, is own code."""
        path = path.resolve()
        if module.partition(".")[0] in self._packages or path == self._file:
            return True
        if {"site-packages", "dist-packages"} & set(path.parts):
            return False
        return not any(path.is_relative_to(folder) for folder in self._libraries)


def compile_with_looks(source: bytes, path: str) -> CodeType:
    """Compile a module so that it looks at each function before it calls it.

    Raises:
        SyntaxError: the source is not Python.
    """
    tree = _Looks().visit(ast.parse(source, path))
    return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Looks(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Name) and node.func.id == "super"):  # the compiler treats it specially
            node.func = _look_at(node.func, len(node.args) + len(node.keywords))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        return self._visit_function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._visit_definition(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node  # annotations may be read as text

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _visit_function(self, node: _Function) -> _Function:
        returns, node.returns = node.returns, None
        self._visit_definition(node)
        node.returns = returns
        return node

    def _visit_definition(self, node: _Definition) -> _Definition:
        self.generic_visit(node)
        node.decorator_list = [_look_at(decorator, 1) for decorator in node.decorator_list]
        return node


def _look_at(function: ast.expr, arguments: int) -> ast.expr:
    look = ast.Name(LOOK, ast.Load())
    return ast.copy_location(ast.Call(look, [function, ast.Constant(arguments)], []), function)
