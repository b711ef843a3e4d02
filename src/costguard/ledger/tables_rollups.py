"""The tables of what entries add up to; see `costguard.ledger.rollups`. They can be made again from the entries."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Text
from sqlmodel import Field

from costguard.ledger.tables_base import Base, number


def _key(name: str, kind: type[BigInteger | Integer | SmallInteger] = BigInteger) -> Column[int]:
    return Column(name, kind, primary_key=True, autoincrement=False)


class TagValue(Base, table=True):
    """The tag sets that have a value of a tag, of those tags that are not in `COARSE`."""

    __tablename__ = "costguard_tag_values"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    name: str = Field(sa_column=Column("name", Text, primary_key=True))
    value: str = Field(sa_column=Column("value", Text, primary_key=True))
    tags_id: int = Field(sa_column=_key("tags_id"))


class Day(Base, table=True):
    """What the entries of a day (since 1970), a tag set, a model, a status and a price add up to.

    price: a number of `costguard_prices`, or `costguard.ledger.rollups.NO_COST` or `NO_RATES`
    """

    __tablename__ = "costguard_days"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    day: int = Field(sa_column=_key("day", Integer))
    tags_id: int = Field(sa_column=_key("tags_id"))
    model_id: int = Field(sa_column=_key("model_id"))
    status: int = Field(sa_column=_key("status", SmallInteger))
    price: int = Field(sa_column=_key("price"))
    entries: int = Field(sa_column=number("entries"))
    calls: int = Field(sa_column=number("calls"))
    cost: int = Field(sa_column=number("cost"))
    input_tokens: int = Field(sa_column=number("input_tokens"))
    output_tokens: int = Field(sa_column=number("output_tokens"))
    cache_read_tokens: int = Field(sa_column=number("cache_read_tokens"))
    unpriced_calls: int = Field(sa_column=number("unpriced_calls"))
    unpriced_tokens: int = Field(sa_column=number("unpriced_tokens"))
    estimated_calls: int = Field(sa_column=number("estimated_calls"))
    estimated_cost: int = Field(sa_column=number("estimated_cost"))
    duration: int = Field(sa_column=number("duration"))
    cache_write_tokens: int = Field(sa_column=number("cache_write_tokens"))
    reasoning_tokens: int = Field(sa_column=number("reasoning_tokens"))
    attempts: int = Field(sa_column=number("attempts"))


class Hour(Base, table=True):
    """The same of an hour (since 1970) and a group of tag sets, at any price."""

    __tablename__ = "costguard_hours"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    hour: int = Field(sa_column=_key("hour", Integer))
    group_id: int = Field(sa_column=_key("group_id"))
    model_id: int = Field(sa_column=_key("model_id"))
    status: int = Field(sa_column=_key("status", SmallInteger))
    entries: int = Field(sa_column=number("entries"))
    calls: int = Field(sa_column=number("calls"))
    cost: int = Field(sa_column=number("cost"))
    input_tokens: int = Field(sa_column=number("input_tokens"))
    output_tokens: int = Field(sa_column=number("output_tokens"))
    cache_read_tokens: int = Field(sa_column=number("cache_read_tokens"))
    unpriced_calls: int = Field(sa_column=number("unpriced_calls"))
    unpriced_tokens: int = Field(sa_column=number("unpriced_tokens"))
    estimated_calls: int = Field(sa_column=number("estimated_calls"))
    estimated_cost: int = Field(sa_column=number("estimated_cost"))
    duration: int = Field(sa_column=number("duration"))
    cache_write_tokens: int = Field(sa_column=number("cache_write_tokens"))
    reasoning_tokens: int = Field(sa_column=number("reasoning_tokens"))
    attempts: int = Field(sa_column=number("attempts"))


class SpreadRow(Base, table=True):
    """How many calls took, or cost, how much: eight neighbouring buckets (`costguard.ledger.buckets`) in a row."""

    __tablename__ = "costguard_spreads"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    day: int = Field(sa_column=_key("day", Integer))
    group_id: int = Field(sa_column=_key("group_id"))
    model_id: int = Field(sa_column=_key("model_id"))
    part: int = Field(sa_column=_key("part", SmallInteger))
    c0: int = Field(sa_column=number("c0"))
    c1: int = Field(sa_column=number("c1"))
    c2: int = Field(sa_column=number("c2"))
    c3: int = Field(sa_column=number("c3"))
    c4: int = Field(sa_column=number("c4"))
    c5: int = Field(sa_column=number("c5"))
    c6: int = Field(sa_column=number("c6"))
    c7: int = Field(sa_column=number("c7"))
