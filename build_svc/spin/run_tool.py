"""Runs one of the toolchain's programs. Run by path with the interpreter that they were installed for.

    python -I -S run_tool.py TOOLS_DIRECTORY componentize-py SEED argument...
    python -I -S run_tool.py TOOLS_DIRECTORY mypy argument...

What is imported is the toolchain's, whatever the working directory has: that is the author's.
"""

import importlib.util
import os.path
import runpy
import sys

_BESIDE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- starts faster


def main(directory: str, program: str, arguments: list[str]) -> None:
    """Never returns where the program ends by itself."""
    sys.path.insert(0, directory)
    if program != "componentize-py":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=False)
        return
    seed, *arguments = arguments
    sys.argv = [program, *arguments]
    import componentize_py  # type: ignore[import-not-found]

    library = sys.modules["componentize_py.componentize_py"].__file__
    spec = importlib.util.spec_from_file_location("repeatable", f"{_BESIDE}/repeatable.py")
    assert spec is not None and spec.loader is not None
    repeatable = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(repeatable)

    def componentize() -> None:
        try:
            componentize_py.script()
        except AssertionError as error:  # what all of its errors are; the text is what it has to say
            print(error, flush=True)
            sys.exit(1)

    repeatable.run(componentize, library, seed)
    componentize()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
