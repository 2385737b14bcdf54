"""`python -m cli` is `fnmesh`."""

from cli.main import main

main()
