"""Rules over other rules: ``all``, ``any`` and ``not`` of what they find, of one subject, near it, or anywhere."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from alerting.model import Severity, SubjectKind
from alerting.rules.base import BaseRule, Duration, Model, Slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alerting.rules.base import Fault

Metres = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
#: How deep conditions may be put into each other: more, and nobody understands what is told.
_DEEPEST: Final = 8
_OF_RULES: Final = ("at_least", "within_m", "join")


class Join(StrEnum):
    """Whose finding counts for the subject that is looked at."""

    SAME = "same"  # its own
    NEAR = "near"  # that of anyone within a distance of it
    ANY = "any"  # anyone's


class When(Model):
    """A condition: another ``rule`` and how it is joined, or ``all`` of several, ``any`` of several, or ``not`` one."""

    rule: Slug | None = None
    at_least: Annotated[int, Field(ge=1, le=1_000_000)] = 1  # so many subjects
    within_m: Metres | None = None
    join: Annotated[Join, Field(strict=False)] | None = None
    all_: Annotated[tuple[When, ...], Field(strict=False, min_length=1)] | None = Field(default=None, alias="all")
    any_: Annotated[tuple[When, ...], Field(strict=False, min_length=1)] | None = Field(default=None, alias="any")
    not_: When | None = Field(default=None, alias="not")

    @model_validator(mode="after")
    def _one_thing(self) -> When:
        said = [key for key in ("rule", "all", "any", "not") if {key, f"{key}_"} & self.model_fields_set]
        if len(said) != 1:
            raise ValueError(f"a condition says one of rule, all, any and not, and here {' and '.join(said) or 'none'}")
        if said != ["rule"] and (unmeant := [key for key in _OF_RULES if key in self.model_fields_set]):
            raise ValueError(f"{', '.join(unmeant)}: only beside a rule")
        if self.within_m is not None and self.join not in {None, Join.NEAR}:
            raise ValueError(f"within_m is for what is near, and join is {self.join}")
        return self

    @property
    def parts(self) -> tuple[tuple[str, When], ...]:
        """The conditions that this one is made of, each with its key."""
        if self.not_ is not None:
            return (("not", self.not_),)
        return tuple(("all", one) for one in self.all_ or ()) + tuple(("any", one) for one in self.any_ or ())

    def leaves(self, *, denied: bool = False) -> Iterator[tuple[When, bool]]:
        """The rules spoken of, from left to right, and whether what they find counts against."""
        if self.rule is not None:
            yield self, denied
        for key, part in self.parts:
            yield from part.leaves(denied=denied != (key == "not"))

    def needed(self) -> Iterator[When]:
        """The rules without which it cannot hold."""
        if self.rule is not None:
            yield self
        for part in self.all_ or ():
            yield from part.needed()

    @property
    def depth(self) -> int:
        return 1 + max((part.depth for _, part in self.parts), default=0)


class Count(Model):
    """From how many members on the alert is more severe."""

    at_least: Annotated[int, Field(ge=2, le=1_000_000)]
    severity: Annotated[Severity, Field(strict=False)]


class CombinedRule(BaseRule):
    """What several rules find, taken together.

    It is looked at for every subject of which the rule ``about`` holds, and the alert is about that subject. Each
    condition holds by what its rule has found and not yet seen end, of ``at_least`` so many subjects: of the subject
    itself, of those within ``within_m`` metres of it, or of any (``Join``). What is joined how, if it does not say:
    vessels to a vessel, and ``about`` itself, by being the ``same``; all else by being ``near`` if there is a
    ``within_m``, and ``any`` if there is none. A vessel is where its last fix was, a device where the registry has it;
    one whose place is not known is near nothing.

    Times are those at which things became known: rows of several subjects have no other clock in common.
    """

    kind: Literal["combined"]
    about: Slug
    when: When
    within_m: Metres | None = None
    for_: Duration = Field(default=0, alias="for")
    keep_firing_for: Duration = 0
    levels: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = None

    @field_validator("when")
    @classmethod
    def _not_too_deep(cls, when: When) -> When:
        if when.depth > _DEEPEST:
            raise ValueError(f"conditions are {when.depth} deep, and {_DEEPEST} at the most")
        return when

    @model_validator(mode="after")
    def _levels_rise(self) -> CombinedRule:
        levels = self.levels or ()
        ranks = [self.severity.rank, *(level.severity.rank for level in levels)]
        for number, (less, more) in enumerate(pairwise(ranks), 1):
            if more <= less:
                raise ValueError(
                    f"level {number}: each must be more severe than the one before, and the first than the rule"
                )
        for number, (few, many) in enumerate(pairwise(levels), 2):
            if many.at_least <= few.at_least:
                raise ValueError(f"level {number}: each must ask for more members than the one before")
        return self

    @property
    def spoken(self) -> tuple[str, ...]:
        """The rules that it speaks of."""
        return tuple(dict.fromkeys([self.about, *(leaf.rule for leaf, _ in self.when.leaves() if leaf.rule)]))

    def severity_at(self, step: int) -> Severity:
        """Of an alert on that step of ``levels``, 0 being below the first."""
        return self.severity if not step or self.levels is None else self.levels[step - 1].severity

    def step(self, members: int) -> int:
        """The step that so many members make."""
        return sum(members >= level.at_least for level in self.levels or ())

    def distance(self, leaf: When) -> float | None:
        """Within which something is near for a condition, metres."""
        return leaf.within_m if leaf.within_m is not None else self.within_m

    def join(self, leaf: When, about: SubjectKind, found: SubjectKind) -> Join:
        """How a condition is joined, by the kinds of subject of the rule ``about`` and of its own."""
        if leaf.join is not None:
            return leaf.join
        if leaf.within_m is not None:
            return Join.NEAR
        if leaf.rule == self.about or about is found is SubjectKind.TRANSPONDER:
            return Join.SAME
        if self.within_m is None or not (about.has_place and found.has_place):
            return Join.ANY
        return Join.NEAR

    def faults_among(self, rules: Mapping[str, BaseRule]) -> list[Fault]:
        """What is wrong with it, given all rules by id; those that it speaks of are whole themselves."""
        faults: list[Fault] = []
        for name in self.spoken:
            place = ("about",) if name == self.about else ("when",)
            if name not in rules:
                faults.append((place, f"unknown rule {name!r}"))
            elif not rules[name].enabled:
                faults.append((place, f"rule {name!r} is not enabled"))
        if faults:
            return faults
        if way := _way_back(self, rules):
            return [(("when",), f"it speaks of itself, by way of {' > '.join(way)}")]
        if not all(_sound(name, rules) for name in self.spoken):
            return []  # what is wrong is told of those rules
        return [*self._faults_of_about(), *self._faults_of_joins(rules)]

    def _faults_of_about(self) -> Iterator[Fault]:
        if all(leaf.rule != self.about for leaf, _ in self.when.leaves()):
            yield ("about",), f"{self.about!r} is none of the conditions"
        elif all(leaf.rule != self.about for leaf in self.when.needed()):
            yield ("about",), f"it must not hold without {self.about!r}: make that one of `all`"

    def _faults_of_joins(self, rules: Mapping[str, BaseRule]) -> Iterator[Fault]:
        about, by_distance = subject_of(self.about, rules), False
        for leaf, _ in self.when.leaves():
            assert leaf.rule is not None
            found = subject_of(leaf.rule, rules)
            join = self.join(leaf, about, found)
            by_distance |= join is Join.NEAR and leaf.within_m is None
            place = ("when",)
            if join is Join.SAME and leaf.at_least > 1:
                yield place, f'{leaf.rule}: at_least {leaf.at_least} of the same one; say join = "near" or "any"'
            if join is Join.SAME and about is not found:
                yield place, f"{leaf.rule} is about a {found}, and cannot be the same as a {about}"
            if join is Join.NEAR and not (about.has_place and found.has_place):
                nowhere = found if about.has_place else about
                yield place, f"{leaf.rule}: a {nowhere} is nowhere, so that nothing is near it"
            elif join is Join.NEAR and self.distance(leaf) is None:
                yield place, f"{leaf.rule}: within_m is missing: how near?"
        if self.within_m is not None and not by_distance:
            yield ("within_m",), "no condition is joined by that distance"
        if self.levels is not None and all(
            denied or self.join(leaf, about, subject_of(leaf.rule or "", rules)) is Join.SAME
            for leaf, denied in self.when.leaves()
        ):
            yield ("levels",), "no condition has members to count"


def subject_of(name: str, rules: Mapping[str, BaseRule]) -> SubjectKind:
    """What kind of subject the alerts of a rule are about."""
    rule = rules[name]
    while isinstance(rule, CombinedRule):
        rule = rules[rule.about]
    return rule.subject


def closure(rule: BaseRule, rules: Mapping[str, BaseRule]) -> list[str]:
    """The ids of a rule and of all that it speaks of, and that those speak of, each after what it needs."""
    found: dict[str, None] = {}
    for name in rule.spoken if isinstance(rule, CombinedRule) else ():
        found |= dict.fromkeys(closure(rules[name], rules))
    return [*found, rule.id]


def _sound(name: str, rules: Mapping[str, BaseRule], above: tuple[str, ...] = ()) -> bool:
    """Whether all that a rule speaks of is there, and none of it speaks of itself."""
    rule = rules.get(name)
    if rule is None or name in above:
        return False
    return not isinstance(rule, CombinedRule) or all(_sound(one, rules, (*above, name)) for one in rule.spoken)


def _way_back(rule: CombinedRule, rules: Mapping[str, BaseRule]) -> list[str]:
    """How a rule comes to speak of itself; nothing if it does not."""
    ways, seen = [[name] for name in rule.spoken], set[str]()
    while ways:
        way = ways.pop(0)
        name = way[-1]
        if name == rule.id:
            return way
        found = rules.get(name)
        if name not in seen and isinstance(found, CombinedRule):
            ways += [[*way, spoken] for spoken in found.spoken]
        seen.add(name)
    return []
