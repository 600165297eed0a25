"""Every sentence of an error or a warning, as a page: ``python tools/sentences.py``.

They are read from the source, so that none is missing and none is there no more. What depends on
the call stands as an ellipsis.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = Path(__file__).parents[1] / "packages"
HEAD = """# Every sentence

What Isotherm refuses, warns of and fails with, word for word; … stands for what depends on your
call. Each says what is wrong and what to do about it; [Errors](errors.md) has the frequent ones
with programs that raise them.
"""

Found = dict[str, dict[str, list[str]]]


def public_names() -> dict[str, str]:
    """The errors and warnings, each with what its docstring says."""
    tree = ast.parse((PACKAGES / "core/src/isotherm/errors.py").read_text("utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: ast.get_docstring(node) or "" for node in classes}


def texts(node: ast.AST, functions: dict[str, ast.AST], inside: ast.AST) -> Iterator[str]:
    """What an expression may say: literals, and what the function that makes it returns."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(p.value if isinstance(p, ast.Constant) else "…" for p in parts)
        case ast.IfExp(body=body, orelse=other):
            yield from texts(body, functions, inside)
            yield from texts(other, functions, inside)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            rights = [*texts(right, functions, inside)] or ["…"]
            yield from (a + b for a in texts(left, functions, inside) for b in rights)
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            for each in ast.walk(functions[name]):
                if isinstance(each, ast.Return) and each.value is not None:
                    yield from texts(each.value, {}, functions[name])
        case ast.Name(id=name):
            for each in ast.walk(inside):
                if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == name:
                    yield from texts(each.value, functions, ast.Pass())


def said(path: Path, functions: dict[str, ast.AST]) -> Iterator[tuple[str, str]]:
    """The errors and warnings that a module makes, each with its text."""
    names = public_names()
    tree = ast.parse(path.read_text("utf-8"))
    owners = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    has_reasons = any(owner.name == "reasons" for owner in owners)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[text, *_]) if name in names:
                pass
            case ast.Return(value=ast.expr() as text) if has_reasons:
                name = "WarmUpWarning"  # which joins the reasons why it did not settle
            case ast.Call(func=ast.Attribute(attr="warn"), args=[text, ast.Name(id=name), *_]):
                pass
            case _:
                continue
        inside = [each for each in owners if each.lineno <= node.lineno <= (each.end_lineno or 0)]
        for sentence in texts(text, functions, inside[-1] if inside else tree):
            yield name, " ".join(sentence.split())


def sentences() -> Found:
    """Of each class of errors and warnings, by what the module is for that says them."""
    paths = sorted(PACKAGES.glob("*/src/**/*.py"))
    trees = {path: ast.parse(path.read_text("utf-8")) for path in paths}
    functions: dict[str, ast.AST] = {
        node.name: node
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    found: Found = defaultdict(lambda: defaultdict(list))
    for path, tree in trees.items():
        title = (ast.get_docstring(tree) or path.stem).splitlines()[0].rstrip(".")
        for name, sentence in said(path, functions):
            if sentence not in found[name][title]:
                found[name][title].append(sentence)
    return found


def page() -> str:
    """The page, as Markdown."""
    lines = [HEAD]
    about = public_names()
    found = sentences()
    for name in [*(name for name in about if name in found), *sorted(found.keys() - about.keys())]:
        lines += [f"## {name}", "", about.get(name, "Python's own."), ""]
        for title, texts_of_it in found[name].items():
            lines += [f"### {title}", "", *(f"- `` {text} ``" for text in texts_of_it), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
