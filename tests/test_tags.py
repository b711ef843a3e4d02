"""Tags are immutable values; frames carry them and never leak."""

from __future__ import annotations

import asyncio
import contextvars
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.errors import ConfigError
from costguard.tags import (
    MAX_VALUE,
    NO_TAGS,
    UNATTRIBUTED,
    Frame,
    Tags,
    bind_tags,
    close_frame,
    current_frame,
    current_tags,
    open_frame,
    tagged,
)

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.text(max_size=30).filter(lambda text: text.strip())
mappings = st.dictionaries(names, values, max_size=5)


@given(mappings)
def test_tags_of_the_same_mapping_are_equal_and_hash_alike_in_any_order(given_: dict[str, str]) -> None:
    reverse = dict(reversed(given_.items()))
    assert Tags(given_) == Tags(reverse)
    assert hash(Tags(given_)) == hash(Tags(reverse))
    assert list(Tags(given_)) == sorted(Tags(given_))


@given(mappings, mappings)
def test_refining_gives_new_tags_and_leaves_the_old_ones(first: dict[str, str], second: dict[str, str]) -> None:
    tags = Tags(first)
    before = dict(tags)
    refined = tags.with_(second)
    assert dict(tags) == before
    assert refined == Tags({**first, **second})


@given(mappings)
def test_tags_survive_pickling(given_: dict[str, str]) -> None:
    tags = Tags(given_)
    assert pickle.loads(pickle.dumps(tags)) == tags


@given(st.dictionaries(names, st.one_of(st.none(), st.integers(), st.text(max_size=400)), max_size=4))
def test_every_value_kept_is_short_storable_text(given_: dict[str, object]) -> None:
    for value in Tags(given_).values():
        assert 0 < len(value) <= MAX_VALUE
        assert "\x00" not in value
        value.encode("utf-8")


def test_tags_cannot_be_changed() -> None:
    tags = Tags(user="alice")
    with pytest.raises(TypeError):
        tags["user"] = "mallory"  # type: ignore[index]
    with pytest.raises(AttributeError):
        tags.user = "mallory"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        tags.anything = "mallory"  # type: ignore[attr-defined]


def test_a_tag_that_was_not_given_is_unattributed_and_not_in_the_mapping() -> None:
    assert NO_TAGS.user == NO_TAGS.value("team") == UNATTRIBUTED
    assert "user" not in NO_TAGS
    with pytest.raises(KeyError):
        NO_TAGS["user"]


def test_none_takes_a_tag_away() -> None:
    assert Tags(user="alice", feature="chat").with_({"user": None}) == Tags(feature="chat")


@pytest.mark.parametrize("name", ["", "two words", "a-b", "1st"])
def test_a_name_that_is_no_name_is_an_error_that_says_it(name: str) -> None:
    with pytest.raises(ConfigError, match="tag name"):
        Tags({name: "x"})


def test_there_are_no_tags_outside_of_a_frame() -> None:
    def look() -> tuple[Frame | None, Tags]:
        return current_frame(), current_tags()

    assert contextvars.Context().run(look) == (None, NO_TAGS)


def test_tagged_blocks_nest_and_restore() -> None:
    with tagged(user="alice", feature="chat"):
        with tagged(feature="search", team="red") as inner:
            assert inner == current_tags() == Tags(user="alice", feature="search", team="red")
        assert current_tags() == Tags(user="alice", feature="chat")
    assert current_frame() is None


def test_tagged_restores_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), tagged(user="alice"):
        raise ZeroDivisionError
    assert current_frame() is None


async def test_tagged_is_an_async_context_manager_too() -> None:
    async with tagged(user="alice") as tags:
        assert tags.user == "alice"
    assert current_frame() is None


async def test_tagged_decorates_sync_and_async_functions() -> None:
    @tagged(feature="chat")
    def plain(word: str) -> tuple[str, str]:
        return word, current_tags().feature

    @tagged(feature="chat")
    async def waiting(word: str) -> tuple[str, str]:
        await asyncio.sleep(0)
        return word, current_tags().feature

    assert plain("a") == await waiting("a") == ("a", "chat")
    assert plain.__name__ == "plain"


def test_tagged_refuses_to_decorate_a_generator() -> None:
    def stream() -> object:
        yield 1

    with pytest.raises(ConfigError, match="stream"):
        tagged(user="alice")(stream)


def test_bind_refines_the_frame_for_everyone_who_shares_it() -> None:
    token = open_frame(Frame(Tags(user="alice")))
    try:
        copied = contextvars.copy_context()
        copied.run(bind_tags, feature="chat")
        assert current_tags() == Tags(user="alice", feature="chat")
    finally:
        close_frame(token)


def test_bind_inside_tagged_ends_with_the_block() -> None:
    with tagged(user="alice"):
        with tagged():
            bind_tags(user="bob")
            assert current_tags().user == "bob"
        assert current_tags().user == "alice"


def test_closing_a_frame_in_another_context_is_harmless() -> None:
    token = contextvars.Context().run(open_frame, Frame())
    close_frame(token)
    assert current_frame() is None


def test_the_route_is_asked_for_until_it_is_known_and_then_kept() -> None:
    answers = iter([None, "/users/{id}", "/other"])
    frame = Frame(Tags(user="alice"), route=lambda: next(answers))
    assert "route" not in frame.current()
    assert frame.current().route == "/users/{id}"
    assert frame.current().route == "/users/{id}"


def test_a_bound_route_wins_over_the_router() -> None:
    frame = Frame(Tags(route="mine"), route=lambda: "/theirs")
    assert frame.current().route == "mine"


def test_costs_add_up_through_the_frames_around() -> None:
    outer = Frame()
    inner = Frame(parent=outer)
    inner.add(5)
    inner.add(None)
    outer.add(2)
    assert (inner.cost, inner.calls, inner.unpriced) == (5, 2, 1)
    assert (outer.cost, outer.calls, outer.unpriced) == (7, 3, 1)


async def test_five_hundred_tasks_do_not_see_each_others_tags() -> None:
    async def request(number: int) -> None:
        with tagged(user=str(number)):
            await asyncio.sleep(0)
            bind_tags(feature=f"f{number}")
            seen = await asyncio.to_thread(current_tags) if number % 20 == 0 else current_tags()
            assert seen == Tags(user=str(number), feature=f"f{number}")
            await asyncio.sleep(0)
        assert current_frame() is None

    async with asyncio.TaskGroup() as group:
        for number in range(500):
            group.create_task(request(number))
    assert current_frame() is None


def test_pooled_threads_keep_nothing_of_a_block() -> None:
    barrier = threading.Barrier(8, timeout=10)

    def job(number: int) -> tuple[str, Frame | None]:
        with tagged(user=str(number)):
            barrier.wait()
            seen = current_tags().user
        return seen, current_frame()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(job, range(8))) == [(str(number), None) for number in range(8)]
