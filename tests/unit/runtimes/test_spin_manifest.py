"""spin.toml: what is read of it, what is refused and how, and that what is written can be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.spin import manifest
from runtimes.spin.manifest import ManifestInvalid, Mount, SpinApp, Variable

GOOD = """\
spin_manifest_version = 2

[application]
name = "shop"
version = "1.2.3"
authors = ["Somebody <somebody@example.com>"]

[application.trigger.http]
base = "/"

[variables]
api_host = { default = "example.com" }
api_token = { required = true, secret = true }

[[trigger.http]]
route = "/cart/..."
component = "cart"

[[trigger.http]]
route = "/basket/..."
component = "cart"

[component.cart]
source = "./build/cart.wasm"
description = "what is in it"
allowed_outbound_hosts = ["https://{{ api_host }}", "redis://*:6379"]
key_value_stores = ["default"]
files = ["static/**/*", { source = "data", destination = "/data" }]
environment = { LEVEL = "info" }

[component.cart.variables]
token = "{{ api_token }}"

[component.cart.build]
command = "componentize-py -w spin-http componentize app -o cart.wasm"
watch = ["*.py"]
"""


def changed(old: str, new: str) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new).encode()


def test_what_is_read() -> None:
    assert manifest.parse(GOOD.encode()) == SpinApp(
        name="shop",
        version="1.2.3",
        component="cart",
        source="build/cart.wasm",
        routes=("/cart/...", "/basket/..."),
        allowed_outbound_hosts=("https://{{ api_host }}", "redis://*:6379"),
        variables={"api_host": Variable("example.com"), "api_token": Variable(None, required=True, secret=True)},
        component_variables={"token": "{{ api_token }}"},
        files=(Mount("static/**/*"), Mount("data", "/data")),
        key_value_stores=("default",),
        environment={"LEVEL": "info"},
        build_command="componentize-py -w spin-http componentize app -o cart.wasm",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "spin.toml has no spin_manifest_version: write spin_manifest_version = 2 at its top."),
        (
            changed("spin_manifest_version = 2", 'spin_manifest_version = "1"'),
            'spin.toml has spin_manifest_version = "1"; only version 2 can be read: write it anew in that format.',
        ),
        (changed("[application]", "[application"), r"spin.toml is not valid TOML: .* \(at line 3, column .*\)\."),
        (GOOD.replace("shop", "shöp").encode("latin-1"), r"spin.toml is not UTF-8: invalid .* at byte \d+\."),
        (
            changed('component = "cart"', 'component = "kart"'),
            "spin.toml: the trigger names the component 'kart', which is not there; there is 'cart'.",
        ),
        (
            changed('"./build/cart.wasm"', '"../cart.wasm"'),
            r"spin.toml: '../cart.wasm', the source of \[component.cart\], leads out of the source;"
            " name a file in it.",
        ),
        (
            changed('"./build/cart.wasm"', '"/etc/passwd"'),
            r"spin.toml: '/etc/passwd', the source of \[component.cart\], leads out of the source; name a file in it.",
        ),
        (
            changed('"./build/cart.wasm"', '{ url = "https://example.com/a.wasm", digest = "sha256:0" }'),
            r"spin.toml: nothing is fetched for \[component.cart\]: put the component beside it, and name it.",
        ),
        (
            changed('"static/**/*"', '"../../etc/*"'),
            r"spin.toml: '../../etc/\*', one of the files of \[component.cart\], leads out of the source;"
            " name a file in it.",
        ),
        (
            changed('route = "/basket/..."\ncomponent = "cart"', 'route = "/basket/..."\ncomponent = "basket"'),
            r"spin.toml has triggers for 2 components \(cart, basket\); a function is one component:"
            " deploy each as a function of its own.",
        ),
        (
            GOOD.replace("trigger.http]]", "trigger.redis]]").encode(),
            "spin.toml has a trigger of the kind 'redis'; only http is run here.",
        ),
        (
            changed("key_value_stores", "key_value_store"),
            r"spin.toml has 'key_value_store' in \[component.cart\], which Spin does not know; look at its spelling.",
        ),
        (
            changed('"redis://*:6379"', '"example.com"'),
            r"spin.toml: 'example.com' in allowed_outbound_hosts of \[component.cart\] has no scheme:"
            " write https://example.com.",
        ),
        (
            changed("{ required = true, secret = true }", "{ secret = true }"),
            "spin.toml: the variable 'api_token' needs either a default or required = true.",
        ),
        (
            changed('route = "/cart/..."', "route = { private = true }"),
            r"spin.toml: \{\"private\": true\} is no route of \[\[trigger.http\]\]: give one like \"/...\".",
        ),
    ],
)
def test_what_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ManifestInvalid, match=f"^{said}$"):
        manifest.parse(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        manifest.parse(content)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(
    st.builds(
        SpinApp,
        name=TEXTS.filter(bool),
        component=st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z][a-z0-9]{0,5}){0,2}", fullmatch=True),
        source=st.just("a b/c.wasm"),
        version=TEXTS.filter(bool),
        description=TEXTS,
        routes=st.lists(TEXTS.map("/{}".format), min_size=1, unique=True).map(tuple),
        allowed_outbound_hosts=st.lists(TEXTS.map("https://{}".format)).map(tuple),
        variables=st.dictionaries(
            NAMES, st.one_of(st.builds(Variable, TEXTS), st.just(Variable(required=True, secret=True)))
        ),
        component_variables=st.dictionaries(NAMES, TEXTS),
        files=st.just((Mount("a/*"), Mount("data", "/data"))),
        key_value_stores=st.lists(TEXTS).map(tuple),
        environment=st.dictionaries(TEXTS, TEXTS),
    )
)
def test_what_is_written_is_read_as_the_same(app: SpinApp) -> None:
    assert manifest.parse(manifest.write(app).encode()) == app
    assert manifest.from_json(json.loads(json.dumps(app.as_json()))) == app


@pytest.mark.parametrize(("stem", "name"), [("app", "app"), ("Hello_World2", "hello-world2"), ("__", "app")])
def test_a_single_file_gets_a_manifest(stem: str, name: str) -> None:
    app = manifest.of_single_file(stem)

    assert (app.name, app.component, app.routes, app.allowed_outbound_hosts) == (name, name, ("/...",), ())
    assert manifest.parse(manifest.write(app).encode()) == app


@pytest.mark.parametrize(
    ("names", "command", "found"),
    [
        (["spin.toml", "app.py"], "", "app.py"),
        (["spin.toml", "app.py", "app.wasm"], "", ""),
        (["spin.toml", "src/web.py", "app.wasm"], "componentize-py -w spin-http componentize src.web", "src/web.py"),
        (["spin.toml", "app.wasm"], "cargo build", ""),
        (["spin.toml", "app.py", "app.wasm"], "componentize-py componentize", ""),
    ],
)
def test_whether_a_component_is_built_of_python_or_brought_along(names: list[str], command: str, found: str) -> None:
    assert manifest.python_module(SpinApp(name="a", component="a", build_command=command), names) == found
