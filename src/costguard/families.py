"""The rules of one account that differ in whom they are for: the most specific one that matches decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.tags import Tags

_Rank = tuple[int, int]


class Family:
    """Rules of one account, hence one balance for each payer. Never changed once it is built.

    A concrete value of a tag in `per` ("for user=alice") is more specific than any other tag ("for plan=pro");
    beyond that more tags are more specific than fewer.
    """

    def __init__(self, rules: Iterable[Budget]) -> None:
        ranked: dict[_Rank, dict[tuple[str, ...], dict[tuple[str, ...], Budget]]] = {}
        for rule in rules:
            self.any = rule
            names = tuple(name for name, _ in rule.for_)
            values = tuple(value for _, value in rule.for_)
            ranked.setdefault(_rank(rule), {}).setdefault(names, {})[values] = rule
        self._ranked = [list(ranked[rank].items()) for rank in sorted(ranked, reverse=True)]

    def matching(self, tags: Tags) -> Iterator[list[Budget]]:
        """The rules that these tags match, the most specific first; several in one list are equally specific."""
        for groups in self._ranked:
            found = []
            for names, by_values in groups:
                rule = by_values.get(tuple([tags.value(name) for name in names]))
                if rule is not None:
                    found.append(rule)
            if found:
                yield found


def families(rules: Iterable[Budget]) -> list[Family]:
    """The rules sorted into families, in the order of the first of each."""
    by_account: dict[str, list[Budget]] = {}
    for rule in rules:
        by_account.setdefault(rule.account, []).append(rule)
    return [Family(group) for group in by_account.values()]


def check_ties(rules: Iterable[Budget]) -> None:
    """Raises ConfigError for two rules of one account that one call can match and neither of which is the more
    specific, unless a third one says what holds for both."""
    ranked: dict[tuple[str, _Rank], list[Budget]] = {}
    known = set()
    for rule in rules:
        if rule.for_:
            ranked.setdefault((rule.account, _rank(rule)), []).append(rule)
            known.add((rule.account, rule.for_))
    for group in ranked.values():
        kinds: dict[tuple[str, ...], list[Budget]] = {}
        for rule in group:
            kinds.setdefault(tuple(name for name, _ in rule.for_), []).append(rule)
        # Rules for the same tags differ in a value: no call matches two of them.
        while len(kinds) > 1:
            _, ones = kinds.popitem()
            for one in ones:
                for other in (rule for others in kinds.values() for rule in others):
                    both = _both(one, other)
                    if both is not None and (one.account, both) not in known:
                        raise ConfigError(
                            f'budgets "{other}" and "{one}" are equally specific, and a call may match both; '
                            f"add one for {','.join(f'{name}={value}' for name, value in both)}"
                        )


def _both(one: Budget, other: Budget) -> tuple[tuple[str, str], ...] | None:
    """What a call that matches both has; None if there can be none."""
    values = dict(one.for_)
    if any(values.setdefault(name, value) != value for name, value in other.for_):
        return None
    return tuple(sorted(values.items()))


def _rank(rule: Budget) -> _Rank:
    return sum(name in rule.per for name, _ in rule.for_), len(rule.for_)
