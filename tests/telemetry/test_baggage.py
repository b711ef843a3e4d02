"""Tags that travel to another service, and who is believed there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.propagate import inject
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from costguard import ConfigError, Tags, current_tags, tagged
from costguard.baggage import baggage_header, read_baggage
from costguard.telemetry.propagation import tag_propagator
from costguard.web.asgi import CostGuardMiddleware
from costguard.web.flask import CostGuard
from costguard.web.wsgi import CostGuardMiddleware as WSGIMiddleware

HEADER = (
    "vendor=1, costguard.user=al%C3%AFce;property=1,costguard.team=blue,costguard.=x,costguard.a-b=x,costguard.feature"
)


def test_tags_become_baggage_and_come_back() -> None:
    with tagged(user='alïce, "of" ;=% wonder', team="blue", route="/chat", environment="production"):
        header = baggage_header()
        assert header.isascii()
        assert read_baggage(header) == {"user": 'alïce, "of" ;=% wonder', "team": "blue"}
        assert baggage_header(only=["team", "route"]) == "costguard.route=%2Fchat,costguard.team=blue"
    assert baggage_header() == ""


@given(st.dictionaries(st.sampled_from(["user", "team", "session", "équipe"]), st.text(max_size=50)))
@example({"user": "alice smith", "team": "a+b%20c", "équipe": "x"})
def test_any_value_survives_the_journey(values: dict[str, str]) -> None:
    tags = Tags(values)
    header = baggage_header(tags)
    assert header.isascii(), "no HTTP client sends another one"
    assert Tags(read_baggage(header)) == tags
    carrier: dict[str, str] = {}
    with tagged(tags):
        tag_propagator().inject(carrier)
    assert Tags(read_baggage(carrier.get("baggage"))) == tags


@given(st.text())
def test_nothing_in_a_header_raises(header: str) -> None:
    Tags(read_baggage(header))


def test_what_is_not_ours_is_not_read() -> None:
    assert read_baggage(HEADER) == {"user": "alïce", "team": "blue"}
    assert read_baggage(None) == {}
    long = f"costguard.team={'x' * 8170},costguard.user=alice"
    assert set(read_baggage(long)) == {"team"}, "half a name would be somebody else's"
    assert len(read_baggage(",".join(f"costguard.t{number}=x" for number in range(1000)))) == 64


async def seen_by_asgi(peer: str, headers: dict[str, str], **options: Any) -> Tags:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_tags())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    transport = httpx.ASGITransport(app=CostGuardMiddleware(app, **options), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        await client.get("/", headers=headers)
    return seen[0]


def seen_by_wsgi(peer: str, headers: dict[str, str], **options: Any) -> Tags:
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(current_tags())
        start_response("200 OK", [])
        return [b"ok"]

    transport = httpx.WSGITransport(app=WSGIMiddleware(app, **options), remote_addr=peer)
    with httpx.Client(transport=transport, base_url="http://app") as client:
        client.get("/", headers=headers)
    return seen[0]


def seen_by_flask(peer: str, headers: dict[str, str], **options: Any) -> Tags:
    seen = []
    app = Flask("app")
    CostGuard(app, None, **options)

    @app.get("/")
    def view() -> str:
        seen.append(current_tags())
        return "ok"

    app.test_client().get("/", headers=headers, environ_base={"REMOTE_ADDR": peer})
    return seen[0].with_({"route": None})


async def seen(framework: str, peer: str, headers: dict[str, str], **options: Any) -> Tags:
    if framework == "asgi":
        return await seen_by_asgi(peer, headers, **options)
    return {"wsgi": seen_by_wsgi, "flask": seen_by_flask}[framework](peer, headers, **options)


FRAMEWORKS = pytest.mark.parametrize("framework", ["asgi", "wsgi", "flask"])
SENT = {"baggage": "costguard.user=alice,costguard.team=blue,costguard.feature=upstream"}


@FRAMEWORKS
async def test_nobody_is_believed_unless_the_app_says_so(framework: str) -> None:
    assert await seen(framework, "10.1.2.3", SENT) == {}


@FRAMEWORKS
@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::7"])
async def test_a_trusted_peers_tags_count_where_nothing_else_gave_them(framework: str, peer: str) -> None:
    options = {"baggage": ["10.0.0.0/8", "fd00::/8"], "feature": "ours", "tags": {"team": lambda _: None}}
    assert await seen(framework, peer, SENT, **options) == {"user": "alice", "team": "blue", "feature": "ours"}
    assert (await seen(framework, peer, SENT, user=lambda _: "bob", **options)).user == "bob"


@FRAMEWORKS
@pytest.mark.parametrize("peer", ["192.0.2.1", "::1", "", "testclient", "11.0.0.1"])
async def test_anyone_elses_do_not(framework: str, peer: str) -> None:
    assert await seen(framework, peer, SENT, baggage=["10.0.0.0/8", "fd00::/8"]) == {}


@FRAMEWORKS
@pytest.mark.parametrize(
    "forwarded",
    [
        {"x-forwarded-for": "192.0.2.1"},
        {"x-forwarded-for": "10.9.9.9, 192.0.2.1"},
        {"x-forwarded-for": "192.0.2.1:4711, 10.9.9.9"},
        {"x-forwarded-for": "unknown"},
        {"x-real-ip": "192.0.2.1"},
        {"forwarded": 'for="[2001:db8::1]:4711";proto=https'},
        {"forwarded": "for=10.9.9.9, for=192.0.2.1;by=10.0.0.1"},
        {"forwarded": "by=10.0.0.1"},
    ],
)
async def test_a_trusted_peer_is_not_believed_for_whom_it_forwards(framework: str, forwarded: dict[str, str]) -> None:
    """A load balancer in the same network hands on what anybody sends; whoever asks can add to the list."""
    options = {"baggage": ["10.0.0.0/8"]}
    assert await seen(framework, "10.1.2.3", {**SENT, **forwarded}, **options) == {}


@FRAMEWORKS
@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded"])
async def test_a_request_that_came_by_trusted_peers_alone_is_believed(framework: str, name: str) -> None:
    value = {"x-forwarded-for": "10.9.9.9:4711, [fd00::7]:80,fd00::8", "forwarded": 'FOR=10.9.9.9, For="[fd00::7]:80"'}
    options = {"baggage": ["10.0.0.0/8", "fd00::/8"]}
    assert (await seen(framework, "10.1.2.3", {**SENT, name: value[name]}, **options)).user == "alice"


@FRAMEWORKS
async def test_headers_that_name_a_trusted_address_make_no_peer_trusted(framework: str) -> None:
    spoofed = {"x-forwarded-for": "10.9.9.9", "forwarded": "for=10.9.9.9", "x-real-ip": "10.9.9.9", "host": "10.9.9.9"}
    assert await seen(framework, "192.0.2.1", {**SENT, **spoofed}, baggage=["10.0.0.0/8"]) == {}


async def test_a_header_that_comes_in_parts_is_read_whole() -> None:
    """Whoever adds a second X-Forwarded-For does not hide the first, nor the other way round."""

    async def user(*headers: tuple[bytes, bytes]) -> str:
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(current_tags().user)

        scope = {
            "type": "http", "path": "/", "method": "GET", "headers": headers, "query_string": b"",
            "client": ("10.1.2.3", 1),
        }  # fmt: skip
        await CostGuardMiddleware(app, baggage=["10.0.0.0/8"])(scope, None, None)  # type: ignore[arg-type]
        return seen[0]

    two = (b"baggage", b"vendor=1"), (b"Baggage", b"costguard.user=alice")
    assert await user(*two) == "alice"
    assert await user(*two, (b"x-forwarded-for", b"10.9.9.9"), (b"x-forwarded-for", b"192.0.2.1")) == "unattributed"


@pytest.mark.parametrize("proxies", ["127.0.0.1", "*"])
async def test_a_server_that_believes_a_spoofed_address_does_not_make_us_believe_it(proxies: str) -> None:
    """uvicorn takes it from X-Forwarded-For: with `--forwarded-allow-ips *` the first, which anyone can write."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(f"{scope['client'][0]} {current_tags().user}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    served = ProxyHeadersMiddleware(CostGuardMiddleware(app, baggage=["10.0.0.0/8"]), proxies)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=served, client=("127.0.0.1", 1))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        # The attacker wrote the first address, the load balancer added the second.
        await client.get("/", headers={**SENT, "x-forwarded-for": "10.9.9.9, 192.0.2.1"})
    assert seen == [f"{'10.9.9.9' if proxies == '*' else '192.0.2.1'} unattributed"]


@FRAMEWORKS
async def test_trust_may_be_a_function(framework: str) -> None:
    assert (await seen(framework, "gateway", SENT, baggage=lambda peer: peer == "gateway")).user == "alice"
    assert await seen(framework, "other", SENT, baggage=lambda peer: peer == "gateway") == {}


@pytest.mark.parametrize("trust", ["10.0.0.0/8", ["10.0.0.1/8"], ["localhost"], [7.5]])
def test_what_is_no_network_is_told(trust: Any) -> None:
    with pytest.raises(ConfigError, match="network"):
        CostGuardMiddleware(lambda *_: None, baggage=trust)  # type: ignore[arg-type]


def test_opentelemetry_sends_them_with_what_it_sends_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import baggage, propagate

    both = CompositePropagator([TraceContextTextMapPropagator(), tag_propagator(only=["user"])])
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", both)
    carrier: dict[str, str] = {}
    with tagged(user="alïce", team="blue"):
        inject(carrier, context=baggage.set_baggage("vendor", "1"))
    assert read_baggage(carrier["baggage"]) == {"user": "alïce"}
    assert "vendor=1" in carrier["baggage"]


def test_opentelemetry_hands_on_no_tags_that_came_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next service trusts this one. Whoever asked this one can put anything into its baggage."""
    from opentelemetry import context, propagate

    both = CompositePropagator([TraceContextTextMapPropagator(), tag_propagator(only=["feature"])])
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", both)
    came = propagate.extract({"baggage": "vendor=1,costguard.user=mallory,costguard.plan=pro,costguard.feature=x"})
    token = context.attach(came)
    try:
        carrier: dict[str, str] = {}
        with tagged(user="alice", feature="chat"):
            inject(carrier)
        assert read_baggage(carrier["baggage"]) == {"feature": "chat"}
        assert "vendor=1" in carrier["baggage"]
    finally:
        context.detach(token)


def test_one_string_is_no_list_of_tags() -> None:
    with pytest.raises(ConfigError, match="only="):
        baggage_header(only="user")
