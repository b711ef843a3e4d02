"""Price lists on the web: fetched off the path of calls, kept on disk, and through forks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from costguard import Guard
from costguard.pricing import download, source
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from tests.pricing.lists import ListServer, one_price

NOW = 1_793_793_600 * 10**9
USAGE = Usage.of({"input": 1_000_000})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSTGUARD_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer(one_price("1")) as running:
        yield running


def cost(book: PriceBook) -> object:
    return book.receipt("acme", "m", USAGE, NOW).cost


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_guard_starts_before_its_list_is_there_and_has_it_later(server: ListServer) -> None:
    server.gate.clear()
    with Guard("memory://", prices=server.url) as guard:
        assert guard.price("acme", "m", USAGE).cost is None
        assert guard.price("openai", "gpt-4o", USAGE).cost is not None
        server.gate.set()
        until(lambda: guard.price("acme", "m", USAGE).cost == 1)


def test_nothing_is_fetched_by_making_a_book(server: ListServer) -> None:
    PriceBook(server.url)
    assert not server.asked


def test_the_last_good_copy_is_used_at_the_next_start_without_a_network(server: ListServer) -> None:
    assert PriceBook(server.url).look() == []
    server.status = 500
    again = PriceBook(server.url)
    assert cost(again) == 1
    assert again.look()
    assert cost(again) == 1


def test_a_copy_that_was_damaged_is_not_used(server: ListServer, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    PriceBook(server.url).look()
    (path,) = (cache / "prices").glob("*.prices")
    head = path.read_bytes().partition(b"\n")[0]
    path.write_bytes(head + b"\n{")
    book = PriceBook(server.url)
    assert cost(book) is None
    assert "is not used" in caplog.text
    path.write_bytes(b"nonsense")
    assert cost(PriceBook(server.url)) is None


def test_a_list_that_did_not_change_is_not_sent_again(server: ListServer) -> None:
    book = PriceBook(server.url)
    book.look()
    book.look()
    assert "if-none-match" not in server.asked[0]
    assert "if-none-match" in server.asked[1]
    server.content = one_price("2")
    book.look()
    assert cost(book) == 2


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"<html>captive portal</html>", 200), (b"", 200), (b'{"price": []}', 200), (one_price("9"), 503), (b"", 404)],
)
def test_a_bad_answer_leaves_the_prices_and_is_logged_once(
    server: ListServer, caplog: pytest.LogCaptureFixture, content: bytes, status: int
) -> None:
    book = PriceBook(server.url)
    book.look()
    server.content, server.status = content, status
    assert book.look()
    assert book.look()
    assert cost(book) == 1
    said = [record.message for record in caplog.records if "stay as they are" in record.message]
    assert len(said) == 1
    assert "secret" not in caplog.text
    server.content, server.status = one_price("3"), 200
    assert book.look() == []
    assert cost(book) == 3


def test_an_answer_that_is_cut_or_too_long_is_not_used(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    book = PriceBook(server.url)
    book.look()
    server.content, server.declared = one_price("2"), 10_000
    assert book.look()
    server.declared = None
    monkeypatch.setattr(source, "MOST_BYTES", 10)
    assert "longer than 10 bytes" in book.look()[0]
    assert cost(book) == 1


def test_an_answer_that_takes_too_long_is_given_up(server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.gate.clear()
    assert PriceBook(server.url).look()


def test_a_redirect_leads_to_https_only(server: ListServer) -> None:
    server.status, server.location = 302, "http://example.com/prices.json"
    assert "https" in PriceBook(server.url).look()[0]


def test_what_another_process_fetched_a_moment_ago_is_not_fetched_again(server: ListServer) -> None:
    PriceBook(server.url).look()
    book = PriceBook(server.url, refresh=3_600)
    book.start()
    try:
        until(lambda: cost(book) == 1)
        assert len(server.asked) == 1
    finally:
        book.close()


def test_a_list_is_looked_at_again_and_again(server: ListServer) -> None:
    book = PriceBook(server.url, refresh=1)
    book.start()
    try:
        until(lambda: cost(book) == 1)
        server.content = one_price("2")
        until(lambda: cost(book) == 2)
    finally:
        book.close()


FORKED = """
import os, sys, time
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
book = PriceBook(sys.argv[1], refresh=1)
book.start()
usage = Usage.of({"input": 1_000_000})
def until(cost):
    end = time.monotonic() + 20
    while book.receipt("acme", "m", usage, time.time_ns()).cost != cost:
        if time.monotonic() > end:
            print("never", cost, os.getpid(), flush=True)
            os._exit(1)
        time.sleep(0.05)
until(1)
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        until(2)
        os._exit(0)
    children.append(child)
print("forked", flush=True)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
book.close()
print("done", flush=True)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_a_forked_worker_goes_on_looking(server: ListServer) -> None:
    run = subprocess.Popen([sys.executable, "-c", FORKED, server.url], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "forked\n"
    server.content = one_price("2")
    assert run.stdout.read() == "done\n"
    assert run.wait(30) == 0


def test_a_closed_book_keeps_its_prices_and_can_start_again(server: ListServer) -> None:
    book = PriceBook(server.url, refresh=1)
    book.start()
    until(lambda: cost(book) == 1)
    book.close()
    assert cost(book) == 1
    server.content = one_price("2")
    book.start()
    until(lambda: cost(book) == 2)
    book.close()


@pytest.mark.parametrize("refresh", [0, -1, 0.5, True, "hourly"])
def test_a_pause_that_cannot_be_meant_is_refused(refresh: object) -> None:
    with pytest.raises(ValueError, match="refresh"):
        PriceBook(refresh=refresh)  # type: ignore[arg-type]
