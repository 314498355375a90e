"""Contract conditions over a pandas frame: the small SQL that contracts use, null-aware as SQL is.

Comparisons, and / or / not, in, between, is null, arithmetic, dates and intervals. Anything else is
refused with the words that were not understood, so a rule cannot pass because nobody read it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

import pandas as pd
from sqlglot import exp, parse_one

COMPARE: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: operator.eq, exp.NEQ: operator.ne, exp.LT: operator.lt, exp.LTE: operator.le,
    exp.GT: operator.gt, exp.GTE: operator.ge,
}  # fmt: skip
TRUTHS = (*COMPARE, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Between)
ARITHMETIC: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add, exp.Sub: operator.sub, exp.Mul: operator.mul, exp.Div: operator.truediv,
}  # fmt: skip


class ConditionError(ValueError):
    """A condition that uses more SQL than is read here, or a column the frame lacks."""


def broken(frame: pd.DataFrame, expect: str, when: str = "true") -> pd.Series:
    """True for each row where `when` holds and `expect` is false; unknown breaks nothing."""
    applies = _truth(frame, _parsed(when)).fillna(False)
    holds = _truth(frame, _parsed(expect)).fillna(True)
    return (applies & ~holds).astype(bool)


def columns(expect: str, when: str = "true") -> tuple[str, ...]:
    """The columns that a condition reads, in the order of their names."""
    found = (*_parsed(expect).find_all(exp.Column), *_parsed(when).find_all(exp.Column))
    return tuple(sorted({column.name for column in found}))


@cache
def _parsed(sql: str) -> exp.Expr:
    return parse_one(sql, dialect="postgres")


def _truth(frame: pd.DataFrame, node: exp.Expr) -> pd.Series:
    """A nullable boolean per row: and, or and not then follow SQL's three values."""
    if isinstance(node, exp.Paren):
        return _truth(frame, node.this)
    if isinstance(node, exp.And | exp.Or | exp.Not):
        return _connected(frame, node)
    return _tested(frame, node)


def _connected(frame: pd.DataFrame, node: exp.Expr) -> pd.Series:
    if isinstance(node, exp.Not):
        return ~_truth(frame, node.this)
    left, right = _truth(frame, node.this), _truth(frame, node.expression)
    return left & right if isinstance(node, exp.And) else left | right


def _tested(frame: pd.DataFrame, node: exp.Expr) -> pd.Series:
    if isinstance(node, exp.Is | exp.In | exp.Between):
        answer = _predicate(frame, node)
        # `is not null` and, by version, `not in` carry their not as a flag.
        return ~answer if node.args.get("negate") else answer
    if type(node) in COMPARE:
        left, right = _value(frame, node.this), _value(frame, node.expression)
        return _compared(COMPARE[type(node)], left, right)
    return _value(frame, node).astype("boolean")


def _predicate(frame: pd.DataFrame, node: exp.Expr) -> pd.Series:
    value = _value(frame, node.this)
    if isinstance(node, exp.Between) and not node.args.get("symmetric"):
        low, high = (_value(frame, node.args[bound]) for bound in ("low", "high"))
        return _compared(operator.ge, value, low) & _compared(operator.le, value, high)
    if isinstance(node, exp.In) and node.expressions:
        allowed = [_literal(item) for item in node.expressions]
        return value.isin(allowed).astype("boolean").mask(value.isna())
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        return value.isna().astype("boolean")
    raise ConditionError(f"not understood: {node.sql(dialect='postgres')}")


def _value(frame: pd.DataFrame, node: exp.Expr) -> pd.Series:
    if isinstance(node, exp.Column):
        if node.name not in frame.columns:
            raise ConditionError(f"there is no column {node.name}")
        return frame[node.name]
    if isinstance(node, exp.Paren):
        return _value(frame, node.this)
    if type(node) in ARITHMETIC:
        left, right = _value(frame, node.this), _value(frame, node.expression)
        known = left.notna() & right.notna()
        answer = pd.Series(pd.NA, index=frame.index, dtype=object)
        answer[known] = ARITHMETIC[type(node)](left[known], right[known])
        return answer
    if isinstance(node, TRUTHS):
        return _truth(frame, node)
    scalar = _literal(node)
    # A scalar's own type is kept: a column of Python ints and dates compares as they do.
    kind = None if isinstance(scalar, pd.Timedelta) else object
    return pd.Series([scalar] * len(frame), index=frame.index, dtype=kind)


def _compared(compare: Callable[[Any, Any], Any], left: pd.Series, right: pd.Series) -> pd.Series:
    known = left.notna() & right.notna()
    answer = pd.Series(pd.NA, index=left.index, dtype="boolean")
    answer[known] = compare(left[known], right[known]).astype("boolean")
    return answer


def _literal(node: exp.Expr) -> Any:
    if isinstance(node, exp.Literal):
        if node.is_string:
            return node.this
        return Decimal(node.this) if "." in node.this else int(node.this)
    if isinstance(node, exp.Neg):
        return -_literal(node.this)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Interval):
        return pd.Timedelta(f"{node.this.this} {node.args['unit']}".lower())
    if isinstance(node, exp.Cast) and node.to.is_type("date"):
        return date.fromisoformat(node.this.this)
    raise ConditionError(f"not understood: {node.sql(dialect='postgres')}")
