"""Rules as data: what conditions mean, what a document must be, and how it says what it is not."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codes import Reason
from schemas.features import DECISION_VERSIONS, MOST_ATTEMPTS
from streams.authorization.conditions import COMPARISONS, FIELDS, condition
from streams.authorization.rules import REASONS, RuleError, RuleSet, Stage, diff
from tests.streams.authorization.usual import document

VALUES = {
    **dict.fromkeys(DECISION_VERSIONS, 0),
    "card_attempts_1m": 3,
    "card_attempts_1h": 7,
    "card_travel_km": None,
    "amount_minor": 500,
    "utilization_percent": 40,
    "merchant_id": "M-1",
    "mcc": "5411",
    "merchant_country": "CZ",
    "customer_country": "CZ",
    "channel": "CHIP",
    "network": "DOMESTIC",
    "currency": "CZK",
    "message_kind": "PURCHASE",
    "product": "CLASSIC",
    "program_id": None,
    "region": "home",
}

MEANINGS = [
    ({"feature": "card_attempts_1m", ">=": 3}, True),
    ({"feature": "card_attempts_1m", ">": 3}, False),
    ({"feature": "card_attempts_1m", "<=": 3}, True),
    ({"feature": "card_attempts_1m", "<": 3}, False),
    ({"feature": "card_attempts_1m", "==": 3}, True),
    ({"feature": "card_attempts_1m", ">": 1, "<": 4}, True),
    ({"feature": "card_attempts_1m", ">": 1, "<": 3}, False),
    # What is unknown meets no comparison and is in no list, nor provably outside one.
    ({"feature": "card_travel_km", ">=": 0}, False),
    ({"feature": "card_travel_km", "<": 5}, False),
    ({"not": {"feature": "card_travel_km", ">=": 0}}, True),
    ({"field": "program_id", "in": ["standard"]}, False),
    ({"field": "program_id", "not_in": ["standard"]}, False),
    ({"field": "mcc", "in": ["5411"]}, True),
    ({"field": "mcc", "not_in": ["5411"]}, False),
    ({"field": "mcc", "in": []}, False),
    ({"field": "mcc", "in": ["5400-5411"]}, True),
    ({"field": "mcc", "in": ["5400-5410", "5412-5499"]}, False),
    ({"field": "amount_minor", ">=": 500}, True),
    ({"field": "amount_minor", ">=": {"USD": 1, "CZK": 500}}, True),
    ({"field": "amount_minor", ">=": {"CZK": 501}}, False),
    # No number for this currency.
    ({"field": "amount_minor", ">=": {"USD": 1}}, False),
    ({"field": "utilization_percent", "<": 41}, True),
    ({"all": [{"field": "mcc", "in": ["5411"]}, {"feature": "card_attempts_1m", ">": 9}]}, False),
    ({"any": [{"field": "mcc", "in": ["5411"]}, {"feature": "card_attempts_1m", ">": 9}]}, True),
    ({"any": [{"field": "mcc", "in": ["1"  "234"]}, {"not": {"field": "mcc", "in": []}}]}, True),
]  # fmt: skip


@pytest.mark.parametrize(("written", "holds"), MEANINGS)
def test_a_condition_means(written: dict[str, Any], holds: bool) -> None:
    assert condition(written, "when")(VALUES) is holds


NUMBERS = st.sampled_from(["card_attempts_1m", "card_attempts_1h", "card_travel_km"])
LEAVES = st.one_of(
    st.builds(
        lambda name, tests: {"feature": name, **tests},
        NUMBERS,
        st.dictionaries(st.sampled_from(list(COMPARISONS)), st.integers(0, 9), min_size=1),
    ),
    st.builds(
        lambda name, way, items: {"field": name, way: items},
        st.sampled_from(["merchant_country", "customer_country"]),
        st.sampled_from(["in", "not_in"]),
        st.lists(st.sampled_from(["CZ", "DE", "US"]), max_size=3),
    ),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=4)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)
ANY_VALUES = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("card_attempts_1m", "card_attempts_1h", "card_travel_km"),
            st.none() | st.integers(0, 9),
        ),
        "merchant_country": st.sampled_from(["CZ", "DE", "US", "JP"]),
        "customer_country": st.none() | st.sampled_from(["CZ", "JP"]),
    }
)


def plainly(written: dict[str, Any], values: dict[str, Any]) -> bool:
    """The condition, interpreted word by word."""
    if "all" in written:
        return all(plainly(part, values) for part in written["all"])
    if "any" in written:
        return any(plainly(part, values) for part in written["any"])
    if "not" in written:
        return not plainly(written["not"], values)
    found = values[written.get("feature") or written["field"]]
    if found is None:
        return False
    if "in" in written:
        return found in written["in"]
    if "not_in" in written:
        return found not in written["not_in"]
    return all(
        COMPARISONS[symbol](found, limit)
        for symbol, limit in written.items()
        if symbol in COMPARISONS
    )


@given(CONDITIONS, ANY_VALUES)
@settings(deadline=None)
def test_compiled_conditions_are_the_written_ones(
    written: dict[str, Any], values: dict[str, Any]
) -> None:
    assert condition(written, "when")(values) is plainly(written, values)


def rule(**changes: Any) -> dict[str, Any]:
    """A valid rule, changed."""
    return {
        "id": "a_rule",
        "stage": "velocity",
        "reason": "VELOCITY_EXCEEDED",
        "when": {"feature": "card_attempts_1m", ">=": 3},
        "explanation": "{card_attempts_1m} of {limit.card_attempts_1m}",
        **changes,
    }


def rules(*written: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "t-1", "rules": list(written), **more}


RISK = {"decline_at": 10, "points": [{"id": "p", "points": 5, "when": rule()["when"],
                                      "explanation": "x"}]}  # fmt: skip
HEALTH = {"programs": ["collateral"], "floor": "1.10", "stale_after_s": 900}
DEEP: dict[str, Any] = {"feature": "card_attempts_1m", ">": 1}
for _ in range(9):
    DEEP = {"not": DEEP}

REFUSED = [
    ([], "rules document", "is no mapping", "version"),
    ({"rules": []}, "rules document", "there is no version", "add version"),
    (rules(version=7), "version", "7 is no version", "in quotes"),
    ({**rules(), "version": "no spaces"}, "version", "is no version", "dots and dashes"),
    (rules(limits={}), "rules document", "'limits' means nothing here", "take it out"),
    ({"version": "1", "rules": {}}, "rules", "is no list", "write []"),
    (rules(*[rule(id=f"r{i}") for i in range(501)]), "rules", "there are 501", "at most 500"),
    (rules(rule(), rule()), "rules[1].id", "'a_rule' is there already", "an id of its own"),
    (rules(rule(id="A rule")), "rules[0].id", "is no id", "small letters"),
    (rules(rule(), {"id": "b"}), "rules[1]", "there is no stage", "add stage"),
    (rules(rule(stage="late")), "rules[0].stage", "'late' is not known", "lists, velocity, risk"),
    (rules(rule(reason="UNKNOWN_CARD")), "rules[0].reason", "is not known", "MERCHANT_NOT_"),
    (rules(rule(reason=None)), "rules[0].reason", "None is not known", "RISK_TOO_HIGH"),
    (rules(rule(when=True)), "rules[0].when", "True is no condition", "all, any, not, feature"),
    (rules(rule(when={})), "rules[0].when", "is no condition", "feature, field"),
    (rules(rule(when={"one": []})), "rules[0].when", "one is no condition", "exactly one of"),
    (rules(rule(when={"all": []})), "rules[0].when.all", "is no list", "list its conditions"),
    (rules(rule(when={"all": [{}], "any": []})), "rules[0].when", "all, any is no", "exactly one"),
    (rules(rule(when={"any": [{"not": {"feature": "card_age"}}]})),
     "rules[0].when.any[0].not.feature", "no feature is called 'card_age'", "card_attempts_1m"),
    (rules(rule(when={"feature": "card_attempts_1m"})), "rules[0].when", "with nothing", ">=, <"),
    (rules(rule(when={"feature": "card_attempts_1m", "=>": 1})), "rules[0].when",
     "'=>' means nothing here", "use feature, >, >="),
    (rules(rule(when={"feature": "card_attempts_1m", ">": "3"})), "rules[0].when.>",
     "'3' is no whole number", "without quotes"),
    (rules(rule(when={"feature": "card_attempts_1m", ">": True})), "rules[0].when.>",
     "True is no whole number", "write one"),
    (rules(rule(when={"feature": "card_attempts_24h", ">": MOST_ATTEMPTS + 1})),
     "rules[0].when.>", "never passes 2000", "at most 2000"),
    (rules(rule(when={"field": "colour", "in": []})), "rules[0].when.field",
     "no field is called 'colour'", "merchant_id"),
    (rules(rule(when={"field": "mcc"})), "rules[0].when", "needs one list", "in or not_in"),
    (rules(rule(when={"field": "mcc", "in": [], "not_in": []})), "rules[0].when",
     "needs one list", "either"),
    (rules(rule(when={"field": "mcc", "in": "5411"})), "rules[0].when.in", "is no list", "list"),
    (rules(rule(when={"field": "mcc", "in": [5411]})), "rules[0].when.in[0]",
     "5411 is no text", "in quotes"),
    (rules(rule(when={"field": "mcc", "in": ["54"]})), "rules[0].when.in[0]", "'54' is no mcc",
     "[0-9]{4}"),
    (rules(rule(when={"field": "mcc", "in": ["5499-5411"]})), "rules[0].when.in[0]",
     "ends before it begins", "smaller code first"),
    (rules(rule(when={"field": "merchant_country", "in": [False]})), "rules[0].when.in[0]",
     "False is no text", "in quotes"),
    (rules(rule(when={"field": "channel", "in": ["CHIPS"]})), "rules[0].when.in[0]",
     "'CHIPS' is no channel", "CHIP, CONTACTLESS"),
    (rules(rule(when={"field": "amount_minor", ">": {"XYZ": 1}})), "rules[0].when.>",
     "'XYZ' means nothing here", "USD"),
    (rules(rule(when={"field": "amount_minor", ">": {"USD": 1.5}})), "rules[0].when.>.USD",
     "1.5 is no whole number", "write one"),
    (rules(rule(when=DEEP)), "rules[0].when" + ".not" * 8, "nested deeper than 8", "split it"),
    (rules(rule(explanation="")), "rules[0].explanation", "is no text", "in quotes"),
    (rules(rule(explanation="{oops")), "rules[0].explanation", "braces do not match", "close"),
    (rules(rule(explanation="{}")), "rules[0].explanation", "stands for nothing",
     "limit.card_attempts_1m"),
    (rules(rule(explanation="{mcc.__class__}")), "rules[0].explanation", "stands for nothing",
     "a feature, a field"),
    (rules(rule(explanation="{mcc!r:>9}")), "rules[0].explanation", "stands for nothing", "field"),
    (rules(rule(explanation="{limit.mcc}")), "rules[0].explanation", "stands for nothing",
     "limit.card_attempts_1m"),
    (rules(risk={"points": []}), "risk", "there is no decline_at", "add decline_at"),
    (rules(risk={**RISK, "decline_at": 0}), "risk.decline_at", "0 is too small", "at least 1"),
    (rules(risk={**RISK, "points": [{**RISK["points"][0], "points": "5"}]}),
     "risk.points[0].points", "'5' is no whole number", "without quotes"),
    (rules(health={}), "health", "there is no programs", "add programs"),
    (rules(health={**HEALTH, "programs": "collateral"}), "health.programs", "is no list", "list"),
    (rules(health={**HEALTH, "floor": 1.1}), "health.floor", "1.1 is no text", "in quotes"),
    (rules(health={**HEALTH, "floor": "much"}), "health.floor", "'much' is no number", '"1.10"'),
    (rules(health={**HEALTH, "floor": "NaN"}), "health.floor", "'NaN' is no number", '"1.10"'),
    (rules(health={**HEALTH, "floor": "0.9"}), "health.floor", "is no number of at least 1", "1."),
    (rules(health={**HEALTH, "stale_after_s": 0}), "health.stale_after_s", "too small", "least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "path", "wrong", "remedy"), REFUSED)
def test_a_document_that_cannot_be_used_says_where_what_and_what_to_do(
    written: Any, path: str, wrong: str, remedy: str
) -> None:
    with pytest.raises(RuleError) as caught:
        RuleSet.parse(written)
    where, said = str(caught.value).split(": ", 1)
    assert where == caught.value.path == path
    problem, what_to_do = said.rsplit("; ", 1)
    assert wrong in problem
    assert remedy in what_to_do


KEYS = ["id", "when", "all", "any", "not", "feature", "field", "in", "not_in", ">", 7]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["card_attempts_1m", "amount_minor", "mcc", "5411", "{mcc}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)
PLACES = [
    *[[one] for one in ("version", "rules", "risk", "health")],
    *[["rules", 0, one] for one in ("id", "stage", "reason", "when", "explanation")],
    *[["risk", one] for one in ("decline_at", "points")],
    *[["risk", "points", 0, one] for one in ("id", "points", "when", "explanation")],
    *[["health", one] for one in ("programs", "floor", "stale_after_s")],
    ["rules", 1, "when", "all", 0, "field"],
    ["rules", 1, "when", "all", 0, "in"],
    ["rules", 4, "when", "feature"],
    ["rules", 4, "when", ">="],
    ["rules", 7, "when", "all", 1, ">="],
]


@given(ANYTHING, st.sampled_from(PLACES))
@example({"field": []}, ["rules", 0, "when"])
@settings(deadline=None, max_examples=300)
def test_whatever_stands_in_a_document_it_is_used_or_refused_in_words(
    anything: Any, where: list[Any]
) -> None:
    written = place = document()
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = anything
    with contextlib.suppress(RuleError):
        RuleSet.parse(written)


def test_the_default_rules_are_the_same_as_json() -> None:
    written = document()
    assert json.loads(json.dumps(written)) == written
    parsed = RuleSet.parse(json.loads(json.dumps(written)))
    assert diff(parsed, RuleSet.parse(written)) == []
    assert parsed.features_needed < set(DECISION_VERSIONS)
    assert parsed.version == "2026-11-1"


def test_an_explanation_has_the_values_and_the_limits() -> None:
    written = rule(
        when={
            "all": [
                {"feature": "card_attempts_1m", ">=": 3},
                {"field": "amount_minor", ">": {"CZK": 400}},
            ]
        },
        explanation="{{{mcc}}} {card_attempts_1m}/{limit.card_attempts_1m}, {program_id},"
        " {amount_minor} over {limit.amount_minor}",
    )
    (hit,) = RuleSet.parse(rules(written)).hits(VALUES)
    assert hit.explanation == "{5411} 3/3, unknown, 500 over 400"
    assert (hit.rule, hit.reason) == ("a_rule", Reason.VELOCITY_EXCEEDED)


ALWAYS = {"field": "mcc", "in": ["5411"]}
FIRING = [
    rule(id=f"{stage}_{letter}", stage=stage, reason=reason.value, when=ALWAYS, explanation="x")
    for stage, reason in zip(Stage, REASONS, strict=False)
    for letter in "ba"
]


@given(st.permutations(FIRING), st.permutations(RISK["points"]))
@settings(deadline=None)
def test_where_a_rule_stands_in_the_document_means_nothing(
    order: list[dict[str, Any]], points: list[dict[str, Any]]
) -> None:
    found = RuleSet.parse(rules(*order, risk={**RISK, "points": points}))
    plain = RuleSet.parse(rules(*FIRING, risk=RISK))
    assert found.hits(VALUES) == plain.hits(VALUES)
    assert found.health_hits(VALUES) == plain.health_hits(VALUES)
    assert [hit.rule for hit in found.hits(VALUES)] == [
        "lists_a", "lists_b", "velocity_a", "velocity_b", "risk_a", "risk_b",
    ]  # fmt: skip
    assert [hit.rule for hit in found.health_hits(VALUES)] == ["health_a", "health_b"]
    assert diff(found, plain) == []


def test_the_difference_of_two_documents_names_each_change() -> None:
    before = rules(rule(), rule(id="gone"), risk=RISK)
    after = rules(
        rule(id="new", explanation="n"),
        rule(when={"feature": "card_attempts_1m", ">=": 9}),
        risk={**RISK, "decline_at": 20},
        health=HEALTH,
    )
    after["version"] = "t-2"
    changes = [str(one) for one in diff(RuleSet.parse(before), RuleSet.parse(after))]
    assert "~ risk.decline_at: 10 -> 20" in changes
    assert "~ rules.a_rule.when.>=: 3 -> 9" in changes
    assert "- rules.gone.stage: velocity" in changes
    assert "+ rules.new.explanation: n" in changes
    assert "+ health.floor: 1.10" in changes
    assert not any("version" in one for one in changes)


def test_every_field_may_be_looked_at() -> None:
    for name in FIELDS:
        written = {
            "field": name,
            **({">": 1} if "_minor" in name or "perc" in name else {"in": []}),
        }
        assert condition(written, "when")(VALUES) in {True, False}
