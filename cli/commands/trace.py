"""`fnmesh trace`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.options import Json, Server
from cli.output import console, print_json, span, to_json

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from fnmesh.trace.v1 import trace_service_pb2 as pb

_SHOWN = ("http.request.method", "url.path", "http.response.status_code",
          "rpc.grpc.status_code", "function", "revision", "instance", "stage", "cold_start")  # fmt: skip


def trace(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID", help="32 hex digits, as in x-trace-id.")],
    attributes: Annotated[bool, typer.Option("--attributes", "-a", help="Show all details.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show where the time of a request, a build or a deploy went.

    **Example**: `fnmesh trace 4bf92f3577b34da6a3ce929d0e0e4736`
    """
    with mesh_at(server) as mesh:
        found = mesh.trace(trace_id)
    if as_json:
        print_json(to_json(found))
        return
    out = console()
    for tree in _trees(found, attributes=attributes):
        out.print(tree, crop=False)


def _trees(found: pb.Trace, *, attributes: bool) -> list[Tree]:
    """A tree for each root; a span whose parent is not among them is one."""
    from rich.tree import Tree

    known = {one.span_id for one in found.spans}
    children: dict[str, list[pb.Span]] = defaultdict(list)
    for one in found.spans:
        children[one.parent_span_id if one.parent_span_id in known else ""].append(one)
    begin = min((one.start_time.ToNanoseconds() for one in found.spans), default=0)

    def grow(tree: Tree, parent: str) -> None:
        for one in sorted(children[parent], key=lambda child: child.start_time.ToNanoseconds()):
            grow(tree.add(_label(one, begin, attributes=attributes)), one.span_id)

    trees = []
    for root in sorted(children[""], key=lambda one: one.start_time.ToNanoseconds()):
        tree = Tree(_label(root, begin, attributes=attributes), guide_style="dim")
        grow(tree, root.span_id)
        trees.append(tree)
    return trees


def _label(one: pb.Span, begin: int, *, attributes: bool) -> Text:
    from rich.text import Text

    from fnmesh.client.units import show_duration

    text = Text(one.display_name, style="red" if one.error else "")
    text.append(f"  {one.service}", style="cyan")
    text.append(f"  {span(one.duration)}", style="bold")
    offset = (one.start_time.ToNanoseconds() - begin) / 1e9
    if offset > 0:
        text.append(f"  +{show_duration(offset)}", style="dim")
    shown = sorted(one.attributes) if attributes else [key for key in _SHOWN if key in one.attributes]
    for key in shown:
        text.append(f"  {key}={one.attributes[key]}", style="dim")
    if one.error:
        text.append(f"  {one.error}", style="red")
    return text
