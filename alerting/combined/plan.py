"""A combined rule made ready: its conditions numbered, each with how it is joined, and in which order rules are put."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alerting.rules import CombinedRule, Join, closure, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alerting.judging.outcome import Ruled
    from alerting.model import SubjectKind
    from alerting.rules.combined import When


@dataclass(slots=True, frozen=True)
class Leaf:
    """One condition that is another rule."""

    number: int
    of: Ruled
    kind: SubjectKind
    join: Join
    at_least: int
    within_m: float  # where joined by being near
    denied: bool  # counts against

    @property
    def rule(self) -> str:
        return self.of.rule.id


@dataclass(slots=True, frozen=True)
class Plan:
    """``number``: its place among combined rules, each of which comes after those that it speaks of."""

    number: int
    ruled: Ruled
    rule: CombinedRule
    kind: SubjectKind
    leaves: tuple[Leaf, ...]
    rules: Mapping[str, str]  # the versions of all rules that it stands on, by id
    needed: frozenset[str] = field(init=False)  # without which it cannot hold
    near: tuple[Leaf, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needed", frozenset(leaf.rule for leaf in self.rule.when.needed() if leaf.rule))
        object.__setattr__(self, "near", tuple(leaf for leaf in self.leaves if leaf.join is Join.NEAR))

    def holds(self, truth: Callable[[Leaf], bool]) -> bool:
        """Whether the conditions hold, each by what is said of it."""
        leaves = iter(self.leaves)
        return _holds(self.rule.when, lambda: truth(next(leaves)))

    def told(self, truth: Callable[[Leaf], bool]) -> dict[str, Any]:
        """The conditions with what is said of each, JSON-ready."""
        leaves = iter(self.leaves)
        return _told(self.rule.when, lambda: truth(next(leaves)))


def _holds(when: When, leaf: Callable[[], bool]) -> bool:
    """Every leaf is asked for, from left to right, whether or not it decides anything."""
    if when.rule is not None:
        return leaf()
    found = [_holds(part, leaf) for _, part in when.parts]
    if when.not_ is not None:
        return not found[0]
    return all(found) if when.all_ is not None else any(found)


def _told(when: When, leaf: Callable[[], bool]) -> dict[str, Any]:
    if when.rule is not None:
        return {"rule": when.rule, "holds": leaf()}
    parts = [_told(part, leaf) for _, part in when.parts]
    found = [part["holds"] for part in parts]
    if when.not_ is not None:
        return {"not": parts[0], "holds": not found[0]}
    if when.all_ is not None:
        return {"all": parts, "holds": all(found)}
    return {"any": parts, "holds": any(found)}


def plans(ruled: Sequence[Ruled]) -> list[Plan]:
    """Those of the combined rules among rules in use.

    Raises:
        ValueError: one speaks of a rule that is not among them, or of itself.
    """
    known: Mapping[str, Ruled] = {r.rule.id: r for r in ruled}
    rules = {name: r.rule for name, r in known.items()}
    combined = [r.rule for r in ruled if isinstance(r.rule, CombinedRule)]
    for rule in combined:
        if faults := rule.faults_among(rules):
            raise ValueError(f"rule {rule.id}: {faults[0][1]}")
    order = dict.fromkeys(name for rule in combined for name in closure(rule, rules))
    found: list[Plan] = []
    for name in order:
        if isinstance(each := rules[name], CombinedRule):
            about = subject_of(each.about, rules)
            leaves = list[Leaf]()
            for leaf, denied in each.when.leaves():
                assert leaf.rule is not None
                kind = subject_of(leaf.rule, rules)
                join, within = each.join(leaf, about, kind), each.distance(leaf) or 0.0
                leaves.append(Leaf(len(leaves), known[leaf.rule], kind, join, leaf.at_least, within, denied))
            versions = {one: known[one].version for one in closure(each, rules) if one != name}
            found.append(Plan(len(found), known[name], each, about, tuple(leaves), versions))
    return found
