"""Tags reach threads, executors, process pools and job queues, and stay in none of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard import CarryingExecutor, carry, open_sealed, seal_tags
from costguard.errors import ConfigError
from costguard.tags import NO_TAGS, Frame, Tags, bind_tags, close_frame, current_frame, current_tags, open_frame, tagged

SECRET = "correct horse battery staple"


def spend(nanos: int) -> Tags:
    frame = current_frame()
    assert frame is not None
    frame.add(nanos)
    return current_tags()


def in_thread(work: Callable[[], Tags]) -> Tags:
    seen: list[Tags] = []
    thread = threading.Thread(target=lambda: seen.append(work()))
    thread.start()
    thread.join(10)
    return seen[0]


def test_a_raw_thread_has_no_tags_unless_they_are_carried() -> None:
    with tagged(user="alice"):
        assert in_thread(current_tags) == NO_TAGS
        assert in_thread(carry(current_tags)) == Tags(user="alice")


def test_a_carried_function_keeps_its_name_arguments_and_result() -> None:
    def double(number: int, *, plus: int = 0) -> int:
        """Twice."""
        return number * 2 + plus

    carried = carry(double)
    assert carried(2, plus=1) == 5
    assert (carried.__name__, carried.__doc__) == ("double", "Twice.")


def test_costs_of_carried_calls_add_up_to_the_request() -> None:
    request = Frame(Tags(user="alice"))
    token = open_frame(request)
    try:
        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(carry(spend), 3) for _ in range(20)]:
                assert future.result() == Tags(user="alice")
    finally:
        close_frame(token)
    assert (request.cost, request.calls) == (60, 20)


def test_what_a_carried_call_binds_is_its_own() -> None:
    with tagged(user="alice"):
        assert in_thread(carry(lambda: bind_tags(user="bob"))) == Tags(user="bob")
        assert current_tags() == Tags(user="alice")


def test_a_carried_call_sees_the_tags_of_the_moment_it_was_carried() -> None:
    with tagged(user="alice"):
        carried = carry(current_tags)
        bind_tags(user="bob")
    assert in_thread(carried) == Tags(user="alice")


def test_nothing_stays_in_a_pooled_thread_not_even_what_was_bound_without_a_request() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(carry(bind_tags), user="alice").result() == Tags(user="alice")
        assert pool.submit(current_frame).result() is None
        with tagged(user="bob"):
            failing = pool.submit(carry(lambda: 1 // 0))
        with pytest.raises(ZeroDivisionError):
            failing.result()
        assert pool.submit(current_frame).result() is None


async def test_run_in_executor_carries() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool, tagged(user="alice"):
        assert await loop.run_in_executor(pool, current_tags) == NO_TAGS
        assert await loop.run_in_executor(pool, carry(current_tags)) == Tags(user="alice")
        assert await loop.run_in_executor(CarryingExecutor(pool), current_tags) == Tags(user="alice")


async def test_a_carried_coroutine_function_runs_with_the_tags_wherever_it_is_awaited() -> None:
    async def work(word: str) -> tuple[str, str]:
        await asyncio.sleep(0)
        return word, current_tags().user

    with tagged(user="alice"):
        carried = carry(work)
    assert await carried("a") == ("a", "alice")
    assert current_frame() is None


def test_a_carrying_executor_carries_submit_and_map_and_shuts_down() -> None:
    inner = ThreadPoolExecutor(2)
    with CarryingExecutor(inner) as pool:
        with tagged(user="alice"):
            assert pool.submit(current_tags).result() == Tags(user="alice")
            assert list(pool.map(lambda n: (n, current_tags().user), [1, 2])) == [(1, "alice"), (2, "alice")]
        assert pool.submit(current_tags).result() == NO_TAGS
    with pytest.raises(RuntimeError):
        inner.submit(print)


def test_a_process_pool_takes_the_tags_along() -> None:
    pool = CarryingExecutor(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
    with pool, tagged(user="alice"):
        assert pool.submit(current_tags).result(30) == Tags(user="alice")


def test_a_generator_is_not_carried() -> None:
    def stream() -> object:
        yield 1

    with pytest.raises(ConfigError, match="stream"):
        carry(stream)


@given(st.dictionaries(st.sampled_from(["user", "feature", "team_id"]), st.text(max_size=20)))
def test_sealed_tags_come_out_as_they_went_in(given_: dict[str, str]) -> None:
    sealed = seal_tags(SECRET, Tags(given_))
    assert sealed.isascii()
    assert not set(sealed) & set("+/= \n")
    with open_sealed(sealed, SECRET) as tags:
        assert tags == Tags(given_)
    assert current_frame() is None


def test_the_current_tags_are_sealed_by_default() -> None:
    with tagged(user="alice", feature="chat"):
        sealed = seal_tags(SECRET)
    with open_sealed(sealed, SECRET):
        assert current_tags() == Tags(user="alice", feature="chat")


@given(st.data())
def test_any_changed_character_is_found(data: st.DataObject) -> None:
    sealed = seal_tags(SECRET, Tags(user="alice"))
    place = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.characters().filter(lambda character: character != sealed[place]))
    with pytest.raises(ConfigError):
        open_sealed(sealed[:place] + other + sealed[place + 1 :], SECRET)


@pytest.mark.parametrize("text", ["", "x", "a.b", "cg1..", "cg2.e30.x", "cg1.e30.é", None, 5])
def test_what_was_never_sealed_is_an_error(text: object) -> None:
    with pytest.raises(ConfigError, match="sealed tags"):
        open_sealed(text, SECRET)  # type: ignore[arg-type]


def test_another_secret_does_not_open() -> None:
    with pytest.raises(ConfigError, match="same secret"):
        open_sealed(seal_tags(SECRET, Tags(user="alice")), "other")


@pytest.mark.parametrize("secret", ["", b"", None])
def test_an_empty_secret_is_an_error(secret: object) -> None:
    with pytest.raises(ConfigError, match="secret"):
        seal_tags(secret)  # type: ignore[arg-type]


def test_sealed_tags_that_are_too_old_are_refused_and_fresh_ones_are_not() -> None:
    sealed = seal_tags(SECRET, Tags(user="alice"))
    with open_sealed(sealed, SECRET, max_age=60) as tags:
        assert tags.user == "alice"
    with pytest.raises(ConfigError, match="old"):
        open_sealed(sealed, SECRET, max_age=-5)
