"""Faults planted in the core, one at a time, and the test that must see each: `make planted`.

Each fault is one change of a few characters in a copy of the repository. A property test that passes with it proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import click
from hypothesis import Phase, settings

ROOT: Final = Path(__file__).parents[1]
COPIED: Final = ("grids", "ops", "schemas", "tests", "worker", "pyproject.toml")

# Under this module as a pytest plugin the first failure is enough: no smaller example is looked for.
settings.register_profile("planted", deadline=None, phases=(Phase.explicit, Phase.generate), database=None)


class Fault(NamedTuple):
    """One change of the code, and the test that must fail with it."""

    holds: str
    """The property that the fault breaks."""
    what: str
    file: str
    good: str
    """Stands once in the file."""
    bad: str
    test: str


_PROPERTIES: Final = "tests/core/test_properties.py::"
_ORDER: Final = _PROPERTIES + "test_the_order_of_arrival_does_not_change_the_score"
_TICKS: Final = _PROPERTIES + "test_when_ticks_come_changes_nothing_for_leads_without_late_events"
_BATCHES: Final = "tests/core/batch/test_plan.py"
_MERGE: Final = "tests/core/identity/test_merge.py::test_merging_two_states_equals_folding_both_logs"
_CROSSINGS: Final = _PROPERTIES + "test_the_first_of_several_crossings_is_found"
_SUMS: Final = _PROPERTIES + "test_reasons_add_up_and_no_cap_or_clamp_is_passed"
_DUE: Final = _PROPERTIES + "test_the_scheduled_instant_is_never_late"
_STEADY: Final = _PROPERTIES + "test_a_steady_return_beats_one_burst"
_PACKED: Final = "tests/core/scoring/test_state.py::test_what_was_packed_comes_back"
_ANSWERED: Final = "tests/core/contract/test_codec.py::test_any_record_at_all_is_answered"
_ORACLE: Final = _PROPERTIES + "test_the_core_says_what_the_oracle_says"
_SCORES: Final = "tests/core/test_oracle_score.py::"
_LINES: Final = _PROPERTIES + "test_lines_weights_and_groups_move_a_lead_at_the_oracles_instants"
_PHASES: Final = "tests/core/scoring/test_phases.py::"
_SLA: Final = "tests/core/scoring/test_response_time.py::test_a_walk_through_every_minute_says_the_same"
_WAITS: Final = _PROPERTIES + "test_every_wait_of_the_ladder_ends_at_its_own_millisecond"
_TIERS: Final = "tests/core/scoring/test_tiers.py::test_a_lead_cools_at_the_instant_at_which_the_tiers_carry_it_below"
_CUSTOM: Final = "tests/core/scoring/test_custom.py::test_an_event_counts_once_in_each_rule_that_names_it"
_TABLE: Final = "tests/core/scoring/test_fit_table.py::test_a_table_says_what_asking_row_by_row_says"
_ONCE: Final = "tests/automations/test_once.py::"
_CHANCE: Final = "tests/core/scoring/test_prediction.py::"
_EXPLORE: Final = "tests/core/scoring/test_explore.py::"
_VALUES: Final = "tests/core/grid/test_conditions.py::test_one_of_and_none_of_are_opposites_on_what_is_there"

_WORDS: Final = "tests/core/test_words.py::"
_BY_HAND: Final = _WORDS + "test_rules_and_groups_are_what_their_events_give_by_hand"
_LATEST: Final = _WORDS + "test_the_64_latest_occurrences_count_in_whatever_order_they_come"
_FIRST: Final = _WORDS + "test_the_first_instant_at_which_time_moves_a_lead_is_found"
_BOUNDS: Final = _WORDS + "test_no_later_score_passes_the_bounds_of_a_reading"
_UNTIL: Final = _WORDS + "test_an_exclusion_lasts_until_a_later_event_ends_it"
_DEPTH: Final = _WORDS + "test_depth_is_the_most_of_one_session_on_one_day"

FAULTS: Final = (
    Fault(
        "order of arrival", "a late event does not move a value's occurrence to its own, earlier instant",
        "worker/core/scoring/fold.py", "if first is not None and first <= at_ms:", "if first is not None:", _ORDER,
    ),
    Fault(
        "order of arrival", "a late event takes the latest activity back",
        "worker/core/scoring/fold.py", "if at_ms > state.active_ms and is_activity(type_):", "if is_activity(type_):", _ORDER,
    ),
    Fault(
        "duplicates", "ten ids are looked at, not 64",
        "worker/core/scoring/fold.py", "in ids and find(ids, event_mark) >= 0", "in ids[-60:] and find(ids, event_mark) >= 0",
        _PROPERTIES + "test_events_that_arrive_again_change_nothing",
    ),
    Fault(
        "duplicates", "the latest ids are forgotten first, not the oldest",
        "worker/core/scoring/fold.py", "ids[-IDS_KEPT * MARK_BYTES :]", "ids[: IDS_KEPT * MARK_BYTES]",
        _PROPERTIES + "test_the_core_remembers_as_much_as_is_stated_and_forgets_the_rest_alike",
    ),
    Fault(
        "batches cut anywhere", "within a batch points add up without being judged",
        "worker/core/batch/lead.py", "self.slack -= max_gain", "self.slack -= 0.0", _BATCHES,
    ),
    Fault(
        "batches cut anywhere", "time that passes within a batch is not looked at",
        "worker/core/identity/subject.py",
        "return at_ms < self.stable_until_ms and self.slack >= 0", "return self.slack >= 0", _BATCHES,
    ),
    Fault(
        "ticks at any moment", "a tick judges at its own instant, not at that of the change",
        "worker/core/scoring/stages.py",
        "judge(scorer, state, at_ms, moves), at_ms)", "judge(scorer, state, to_ms, moves), at_ms)",
        _TICKS,
    ),
    Fault(
        "ticks at any moment", "an event finds no change of time's before it",
        "worker/core/batch/lead.py",
        "stages.advance(self.scorer, state, self.at_ms, at_ms - 1, self.by_time)", "return", _TICKS,
    ),
    Fault(
        "two states merged are both logs folded", "a value that both have seen counts twice",
        "worker/core/identity/merge.py", "both.n -= 1", "both.n -= 0", _MERGE,
    ),
    Fault(
        "two states merged are both logs folded", "the other's instants are read by the wrong clock",
        "worker/core/identity/merge.py", "in entries(other.seen, other.last_ms):", "in entries(other.seen, last_ms):", _MERGE,
    ),
    Fault(
        "reasons add up", "a reason is a little off",
        "worker/core/scoring/score.py", 'Reason("inactivity", points, pl', 'Reason("inactivity", points * 1.00001, pl', _SUMS,
    ),
    Fault(
        "reasons add up", "the clamp of the engagement is left out",
        "worker/core/scoring/score.py", 'found.append(Reason("clamp", engagement - total, "engagement"))', "", _SUMS,
    ),
    Fault(
        "caps hold", "a penalty passes its cap",
        "worker/core/scoring/parts.py", "return cap if points > cap else -cap if points < -cap else points",
        "return cap if points > cap else points", _SUMS,
    ),
    Fault(
        "clamps hold", "a score falls below its least",
        "worker/core/scoring/reading.py", "    if value < low:\n        value = low\n    return value + 0.0",
        "    return value + 0.0", _SUMS,
    ),
    Fault(
        "the scheduled instant is never late", "it is a millisecond late",
        "worker/core/scoring/schedule.py", "else max(int(found), at_ms + 1)", "else max(int(found) + 1, at_ms + 1)", _DUE,
    ),
    Fault(
        "the scheduled instant is never late", "a lead that falls forgets midnights and expiries",
        "worker/core/scoring/schedule.py", "if falls < INFINITY:\n            found = min(found, reading.step_ms, at_ms",
        "if falls < INFINITY:\n            found = min(found, at_ms", _DUE,
    ),
    Fault(
        "a steady return beats a burst", "every day of the window counts",
        "worker/core/scoring/velocity.py", "return (bits & ((1 << window) - 1)).bit_count()", "return window", _STEADY,
    ),
    Fault(
        "a steady return beats a burst", "all days fall on one",
        "worker/core/scoring/velocity.py", '"little") << min(back, BITS_DAYS)', '"little") << min(back, 0)', _STEADY,
    ),
    Fault(
        "a state survives packing", "what happened at the clock's own instant is taken for never",
        "worker/core/scoring/state.py",
        "state.active_ms = clock_ms + 1 - active_ms", "state.active_ms = clock_ms - active_ms", _PACKED,
    ),
    Fault(
        "a state survives packing", "four bytes are taken for enough of instants 99 days apart",
        "worker/core/scoring/once_per.py", "_NEAR_MS: Final = 1 << 32", "_NEAR_MS: Final = 1 << 33",
        "tests/core/scoring/test_once_per.py",
    ),
    Fault(
        "a state survives packing", "an address gets a domain that is not its own",
        "worker/core/scoring/packing.py", 'address.endswith("@" + domain)', "address.endswith(domain)",
        "tests/core/scoring/test_state.py::test_an_address_is_read_back_whatever_the_company",
    ),
    Fault(
        "any bytes are answered", "text that is no JSON is an exception",
        "worker/core/contract/codec.py", "except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):\n        return",
        "except msgspec.ValidationError:\n        return", _ANSWERED,
    ),
    Fault(
        "any bytes are answered", "a header that is no text is an exception",
        "worker/core/contract/codec.py",
        "except UnicodeDecodeError:\n            reason =", "except LookupError:\n            reason =",
        _ANSWERED,
    ),
    Fault(
        "the oracle agrees", "silence costs a step less",
        "worker/core/scoring/score.py", "rule.points * (1 + passed)", "rule.points * max(1, passed)", _ORACLE,
    ),
    Fault(
        "the oracle agrees", "a lead cools below `enter`, not below `leave`",
        "worker/core/scoring/ladder.py",
        "reading.score < step.leave - ALLOWANCE", "reading.score < step.enter - ALLOWANCE",
        _ORACLE,
    ),
    Fault(
        "the oracle agrees", "an intent lasts a millisecond longer",
        "worker/core/scoring/ladder.py", "or at_ms < intent_ends_ms(scorer, state, step))",
        "or at_ms <= intent_ends_ms(scorer, state, step))", _WAITS,
    ),
    Fault(
        "the oracle agrees", "an answer at the very last instant is too late",
        "worker/core/scoring/stages.py", "<= event_ms <= state.respond_by_ms", "<= event_ms < state.respond_by_ms", _WAITS,
    ),
    Fault(
        "the oracle agrees", "no rung asks for engagement",
        "worker/core/scoring/compiled_rules.py",
        "-INFINITY if rung.min_engagement is None else rung.min_engagement", "-INFINITY", _WAITS,
    ),
    Fault(
        "the oracle agrees", "only the upper rung asks for an intent",
        "worker/core/scoring/compiled_rules.py", "self.intent_within = rung.intent_within",
        'self.intent_within = rung.intent_within if output == "lead.sql" else None', _WAITS,
    ),
    Fault(
        "the oracle agrees", "a lead falls one phase, past a phase that it no longer keeps",
        "worker/core/scoring/phases.py", "    while held >= 0 and score <", "    if held >= 0 and score <", _CROSSINGS,
    ),
    Fault(
        "the oracle agrees", "a phase is judged while the lead is excluded",
        "worker/core/scoring/stages.py", "if scorer.phases and state.stage <= SQL:", "if scorer.phases:",
        _PHASES + "test_a_phase_stands_still_while_the_lead_is_excluded",
    ),
    Fault(
        "the first millisecond of a phase", "decay alone changes no phase",
        "worker/core/scoring/schedule.py", "phase, down = begins - ALLOWANCE, max(down, ends - ALLOWANCE)", "phase = INFINITY",
        _CROSSINGS,
    ),
    Fault(
        "the first millisecond of a phase", "the greatest of a group is looked for at the end of a stretch alone",
        "worker/core/scoring/moving.py", "max(0.0, high - other_low) * span_ms", "(high - other_low) * span_ms",
        _PHASES + "test_a_phase_that_a_group_takes_away_is_found_though_the_score_rises_again",
    ),
    Fault(
        "the first millisecond of a phase", "a step of time changes no phase before something else does",
        "worker/core/scoring/schedule.py", "return next_phase(scorer, held, reading.score) != held", "return False",
        _PROPERTIES + "test_velocity_steps_at_local_midnights",
    ),
    Fault(
        "the scheduled instant is never late", "a phase that ends is not scheduled",
        "worker/core/scoring/schedule.py",
        "falls = min(falls, reading.score - (ends - ALLOWANCE))", "falls = min(falls, INFINITY)",
        _DUE,
    ),
    Fault(
        "the scheduled instant is never late", "a phase that begins by time alone is not scheduled",
        "worker/core/scoring/schedule.py",
        "rises = min(rises, begins - ALLOWANCE - reading.score)", "rises = min(rises, INFINITY)",
        _DUE,
    ),
    Fault(
        "the scheduled instant is never late", "an engagement that grows too small is not scheduled",
        "worker/core/scoring/schedule.py",
        "gap = min(gap, reading.engagement - (held.min_engagement - ALLOWANCE))", "gap = min(gap, INFINITY)", _DUE,
    ),
    Fault(
        "batches cut anywhere", "a lead near its next phase is not judged within a batch",
        "worker/core/scoring/schedule.py",
        "room = min(room, begins - _DUST - reading.upper_bound)",
        "room = min(room, INFINITY)",
        _BATCHES,
    ),
    Fault(
        "batches cut anywhere", "a contact that loses points is not judged within a batch",
        "worker/core/scoring/compiled_grid.py", "self.holds_from = CONTACT if self.phases else MQL", "self.holds_from = MQL",
        _BATCHES,
    ),
    Fault(
        "a new grid puts leads into their phases silently", "it publishes them",
        "worker/core/scoring/phases.py", " and state.phase is not None and state.phase.phases == scorer.phases_tag", "",
        _PHASES + "test_a_grid_that_brings_other_phases_puts_each_lead_into_its_own_silently",
    ),
    Fault(
        "history is imported without a call", "a breach of a lead.sql of the past is announced",
        "worker/core/scoring/outputs.py", 'state.sql_at_ms if output == "lead.sla_breached" else at_ms', "at_ms",
        "tests/engine/test_silence.py",
    ),
    Fault(
        "open hours are those of the clock on the wall", "a change of the clock is not looked for",
        "worker/core/scoring/response_time.py", "if self._calendar.offset_ms(high) != offset:", "if False:", _SLA,
    ),
    Fault(
        "open hours are those of the clock on the wall", "a time that ends at closing ends at the next opening",
        "worker/core/scoring/response_time.py", "if closes - opens >= left:", "if closes - opens > left:", _SLA,
    ),
    Fault(
        "open hours are those of the clock on the wall", "holidays are open",
        "worker/core/scoring/response_time.py", "in self._days and day not in self._off:", "in self._days:", _SLA,
    ),
    Fault(
        "tiers of inactivity add up", "the last tier alone tells when silence steps next",
        "worker/core/scoring/score.py", "    if next_ms < reading.step_ms:\n        reading.step_ms = next_ms",
        "    reading.step_ms = next_ms", _TIERS,
    ),
    Fault(
        "tiers of inactivity add up", "a tier stops at the floor of the first",
        "worker/core/scoring/score.py", "_read_inactivity(tier, active, reading)",
        "_read_inactivity(tier.model_copy(update={'min': scorer.tiers[0].min}), active, reading)",
        "tests/core/scoring/test_tiers.py::test_the_points_of_the_tiers_add_up",
    ),
    Fault(
        "types of one's own feed the rules that name them", "all below a name is what begins with it",
        "worker/core/contract/event_types.py", "event_type.startswith(name[:-1])", "event_type.startswith(name[:-2])", _CUSTOM,
    ),
    Fault(
        "types of one's own feed the rules that name them", "one that the grid does not name is of the topmost kind",
        "worker/core/scoring/compiled_grid.py", 'above = f"{prefix}.*"', 'above = "custom.*"', _CUSTOM,
    ),
    Fault(
        "a table gives the points of its row", "of bands the first floor that is reached counts",
        "worker/core/scoring/fit_table.py", "rows[::-1] if table.bands else rows", "rows", _TABLE,
    ),
    Fault(
        "a table gives the points of its row", "a missing trait gets what is for all others",
        "worker/core/scoring/fit_table.py", "if not self._is_there(traits):", "if False:", _TABLE,
    ),
    Fault(
        "a blank value is missing", "a blank session is one",
        "worker/core/scoring/velocity.py", "if session is None or (session.__class__ is str and is_blank(session)):",
        "if session is None:", _SCORES + "test_depth_is_the_most_events_in_one_session_on_one_day",
    ),
    Fault(
        "a value counts once", "equal lists are one value",
        "worker/core/scoring/fold.py", "held.__class__ in _SEVERAL else mark", "held.__class__ is dict else mark",
        _SCORES + "test_values_are_compared_as_strings_and_an_event_without_one_is_its_own",
    ),
    Fault(
        "the oracle agrees", "the last of several greatest parts counts",
        "worker/core/scoring/compiled_rules.py", "next((part for part in parts if abs(part) >= least), 0.0)",
        "next((part for part in parts[::-1] if abs(part) >= least), 0.0)", _LINES,
    ),
    Fault(
        "accounts hold what a recount gives", "a hot account never cools",
        "worker/core/identity/accounts.py", "if rules is not None and is_hot(rules, account) != account.hot:",
        "if rules is not None and is_hot(rules, account) > account.hot:",
        "tests/core/identity/test_accounts.py::test_an_account_holds_what_a_recount_of_its_leads_gives",
    ),
    Fault(
        "ids agree who is an alias", "a lead goes on listing an alias that is none",
        "worker/core/identity/aliases.py", "subject.relink(aliases=_without(known, item.visitor))", "subject.relink()",
        "tests/core/identity/test_links.py::test_both_sides_of_every_tie_agree_whatever_came_late",
    ),
    Fault(
        "values are read as people mean them", "`not` is content with one element that differs",
        "worker/core/grid/predicates.py", "all(map(none, found))", "any(map(none, found))",
        "tests/core/grid/test_conditions.py::test_not_looks_at_every_element_of_a_list",
    ),
    Fault(
        "values are read as people mean them", "a blank text is a value",
        "worker/core/grid/predicates.py", "return missing if not value or value.isspace() else scalar(value)",
        "return scalar(value)", _VALUES,
    ),
    Fault(
        "values are read as people mean them", "a number with a space beside it is none",
        "worker/core/grid/scalars.py", "text: str = value.strip()", "text: str = value", _VALUES,
    ),
    Fault(
        "values are read as people mean them", "65 elements are a list like any other",
        "worker/core/grid/scalars.py", "if len(found) <= ELEMENTS_KEPT", "if len(found) <= 65", _VALUES,
    ),
    Fault(
        "values are read as people mean them", "accents count in words",
        "worker/core/grid/phrases.py", '"NFKD"', '"NFC"',
        "tests/core/grid/test_phrases.py::test_words_are_what_the_definition_says",
    ),
    Fault(
        "values are read as people mean them", "a form of a domain has another form",
        "worker/core/grid/domains.py", "while text != before:", "while before is None:",
        "tests/core/grid/test_domains.py::test_a_form_of_a_form_is_itself",
    ),
    Fault(
        "values are read as people mean them", "an escaped slash is a slash",
        "worker/core/grid/page_types.py", '.split(b"/")', '.split(b"?")',
        "tests/core/grid/test_page_types.py::test_escapes_are_decoded_as_the_definition_says",
    ),
    Fault(
        "labels are outside of the content hash", "the comma before a label stays",
        "worker/core/grid/content.py", "yield (len(before) - 1, end)", "yield (len(before), end)",
        "tests/core/grid/test_labels.py::test_a_first_label_does_not_change_the_hash",
    ),
    Fault(
        "labels are outside of the content hash", "every file with the word has one hash",
        "worker/core/grid/content.py", "(_BOM if source.startswith(_BOM) else b\"\") + rest", 'b""',
        "tests/core/grid/test_labels.py::test_other_keys_called_label_are_content",
    ),
    Fault(
        "labels are outside of the content hash", "edited labels are not stored",
        "worker/engine/grid_order.py", "await store.text() != grid.source", "False",
        "tests/engine/test_grid_file.py::test_edited_labels_are_stored_without_another_entry",
    ),
    Fault(
        "occurrences as by hand", "the later of two events of one value counts",
        "worker/core/scoring/occurrences.py", "return instant < before or", "return instant > before or", _BY_HAND,
    ),
    Fault(
        "occurrences as by hand", "at one instant the lighter event of a value counts",
        "worker/core/scoring/occurrences.py", "(instant == before and entry > held)", "(instant == before and entry < held)",
        _WORDS + "test_of_several_events_of_a_value_the_earliest_counts_and_of_those_the_heaviest",
    ),
    Fault(
        "occurrences as by hand", "a missing weight counts the least that one can count",
        "worker/core/scoring/weight.py", "        return 0.0", "        return weigh.min", _BY_HAND,
    ),
    Fault(
        "occurrences as by hand", "a day in a combination is not looked at",
        "worker/core/scoring/fold.py", "texts.append(str(scorer.calendar.day(at_ms)))", 'texts.append("")', _BY_HAND,
    ),
    Fault(
        "occurrences as by hand", "a straight line ends at a half",
        "worker/core/scoring/parts.py", "(1.0 - age_ms / span_ms) if straight",
        "(1.0 - age_ms / span_ms / 2) if straight", _BY_HAND,
    ),
    Fault(
        "groups as by hand", "the greatest penalty does not count as the greatest",
        "worker/core/scoring/compiled_rules.py", "if abs(part) >= least)", "if part >= least)", _BY_HAND,
    ),
    Fault(
        "groups as by hand", "a group's penalties pass its cap",
        "worker/core/scoring/compiled_rules.py", "else -self.cap if total < -self.cap else total", "else total", _BY_HAND,
    ),
    Fault(
        "the 64 latest occurrences", "the latest is forgotten first",
        "worker/core/scoring/occurrences.py", "return grown[width:] if", "return grown[:-width] if", _LATEST,
    ),
    Fault(
        "the 64 latest occurrences", "penalties are sorted after points",
        "worker/core/scoring/occurrences.py", "(bits ^ (_ALL if bits & _SIGN else _SIGN)).to_bytes", "bits.to_bytes",
        _LATEST,
    ),
    Fault(
        "the first instant that time moves", "the end of a window is a millisecond late",
        "worker/core/scoring/parts.py", "part.step_ms = found.first_ms + rule.span_ms",
        "part.step_ms = found.first_ms + rule.span_ms + 1", _FIRST,
    ),
    Fault(
        "the first instant that time moves", "a group with two that can be the greatest moves as the first of them",
        "worker/core/scoring/moving.py", "if len(found) == 1 else (-INFINITY, INFINITY)", "if found else (-INFINITY, INFINITY)",
        _FIRST,
    ),
    Fault(
        "the first instant that time moves", "the greatest of a group cannot change",
        "worker/core/scoring/moving.py", "if all(least >= -ALLOWANCE for least, _ in ahead):", "if ahead:", _FIRST,
    ),
    Fault(
        "the first instant that time moves", "parts that keep their proportion are not known as such",
        "worker/core/scoring/moving.py", "self.decay.half_life_ms == other.decay.half_life_ms", "self is other",
        _WORDS + "test_equal_parts_of_a_group_do_not_make_the_search_look_at_each_millisecond",
    ),
    Fault(
        "the first instant that time moves", "how far a part is ahead is looked at as of the end of a stretch",
        "worker/core/scoring/moving.py", "max(0.0, high - other_low) * span_ms, min(0.0, low - other_high) * span_ms",
        "(high - other_low) * span_ms, (low - other_high) * span_ms",
        _WORDS + "test_bounds_and_slopes_of_what_moves_hold_all_along_a_stretch",
    ),
    Fault(
        "the first instant that time moves", "straight lines are scheduled at half their speed",
        "worker/core/scoring/parts.py", "part.falls, part.rises = falls, -rises",
        "part.falls, part.rises = falls / 2, -rises / 2", _FIRST,
    ),
    Fault(
        "the first instant that time moves", "a group is scheduled as if its greatest kept its sign",
        "worker/core/scoring/parts.py", "reading.switch_ms = min(reading.switch_ms, reading.at_ms + soonest)",
        "reading.switch_ms = min(reading.switch_ms, INFINITY)", _FIRST,
    ),
    Fault(
        "bounds of a reading hold", "a line's penalties are left out of the least that it can be",
        "worker/core/scoring/parts.py", "part = Part(held_to(up + down, rule.cap), held_to(down, rule.cap),",
        "part = Part(held_to(up + down, rule.cap), 0.0,", _BOUNDS,
    ),
    Fault(
        "two states merged are both logs folded", "a weighed value that both have seen counts twice",
        "worker/core/scoring/occurrences.py", "if not self.marked or mark == OWN:", "if mark != OWN:", _MERGE,
    ),
    Fault(
        "reasons add up", "a group has no reason",
        "worker/core/scoring/score.py", 'found.append(Reason("group", difference, group.name))', "", _SUMS,
    ),
    Fault(
        "exclusions end", "the first event of each side decides",
        "worker/core/scoring/fold.py", "max(at_ms, held) if rule.latest else min(at_ms, held)", "min(at_ms, held)", _UNTIL,
    ),
    Fault(
        "exclusions end", "an end at the same instant ends it",
        "worker/core/scoring/compiled_grid.py", "if instants.get(ended, began_ms) <= began_ms)",
        "if instants.get(ended, began_ms - 1) < began_ms)", _UNTIL,
    ),
    Fault(
        "depth of a visit", "a session's pages are not added up",
        "worker/core/scoring/velocity.py", "held[number] + more[at + MARK_BYTES]", "held[number]", _DEPTH,
    ),
    Fault(
        "what lies ahead comes at its instant", "a step that time brings is seen a millisecond late",
        "worker/core/insight/explain.py", "_stepping(scorer, state, at_ms - 1), _stepping(scorer, state, at_ms)",
        "_stepping(scorer, state, at_ms), _stepping(scorer, state, at_ms + 1)",
        "tests/core/insight/test_explain.py::test_each_step_that_time_alone_brings_has_its_instant",
    ),
    Fault(
        "a way up is what such an event would bring", "a weight is taken for 0",
        "worker/core/insight/what_if.py", "count_one(scorer, lead, counter, at_ms, _data(scorer, counter))",
        "count_one(scorer, lead, counter, at_ms, {})",
        "tests/core/insight/test_explain.py::test_a_weighed_event_is_tried_with_what_helps_most",
    ),
    Fault(
        "factors multiply to the chance", "what is not named is left out",
        "worker/core/scoring/prediction.py", "[Factor(OTHERS, others)] if others != 1.0 else []", "[]",
        _CHANCE + "test_published_factors_multiply_to_the_published_chance",
    ),
    Fault(
        "a chance is what the model says", "a signal passes the model's cap",
        "worker/core/scoring/prediction.py", "                if units > most:\n                    units = most\n",
        "                if units > most:\n                    pass\n",
        _CHANCE + "test_a_chance_is_what_the_oracle_says",
    ),
    Fault(
        "a chance is what the model says", "what has expired still counts",
        "worker/core/scoring/prediction.py", "if expires_after and at_ms >= last_ms + expires_after:", "if False:",
        _CHANCE + "test_a_chance_is_what_the_oracle_says",
    ),
    Fault(
        "a chance is what the model says", "means are forgotten where a signal is absent",
        "worker/core/scoring/prediction.py", "*(-one.mean_effect for one in weighed.values())", "",
        _CHANCE + "test_a_chance_is_what_the_oracle_says",
    ),
    Fault(
        "a lead is explored once", "it is handed over at every activity",
        "worker/core/scoring/ladder.py", "and not state.sql_at_ms and not state.crm_ms", "and not state.crm_ms",
        _EXPLORE + "test_a_lead_is_explored_once_and_keeps_its_stage",
    ),
    Fault(
        "who is explored is what the contract says", "a lead that sales refused is explored",
        "worker/core/scoring/ladder.py", "and not state.sql_at_ms and not state.crm_ms", "and not state.sql_at_ms",
        _EXPLORE + "test_who_is_explored_is_what_the_oracle_says",
    ),
    Fault(
        "who is explored is what the contract says", "time alone hands a lead over",
        "worker/core/scoring/stages.py", "if acted and reading.score >= scorer.explore_from",
        "if reading.score >= scorer.explore_from",
        _EXPLORE + "test_who_is_explored_is_what_the_oracle_says",
    ),
    Fault(
        "batches cut anywhere", "within a batch a lead passes the score from which it is explored",
        "worker/core/scoring/schedule.py", "room = min(room, scorer.explore_from - _DUST - reading.upper_bound)",
        "room = min(room, INFINITY)",
        _EXPLORE + "test_where_batches_end_changes_nothing_in_who_is_explored",
    ),
    Fault(
        "a model fits what is counted", "the zone of a day is not part of it",
        "worker/core/grid/counted.py", 'midnight = [grid.timezone] if "day" in once_per else []', "midnight = []",
        "tests/core/grid/test_counted.py::test_another_counting_is_known_by_its_rules",
    ),
    Fault(
        "once", "an unsafe step is not noted before it is sent", "worker/automations/deliver.py",
        "            await self._begin(step.step)  #", "            #", _ONCE + "test_killed_at_each_step",
    ),
    Fault(
        "once", "an unsafe step crosses no fence", "worker/automations/deliver.py",
        "            await self._fence.cross()\n", "",
        _ONCE + "test_a_copy_of_before_the_call_is_noticed_although_its_position_is_the_same",
    ),
    Fault(
        "once", "acts that wait in an older copy are not marked", "worker/automations/partition.py",
        "            await self.ledger.distrust()\n", "",
        _ONCE + "test_a_copy_of_before_the_call_is_noticed_although_its_position_is_the_same",
    ),
    Fault(
        "once", "outputs that are read again are taken for new", "worker/automations/partition.py",
        "unsure = record.offset < self._again.get(record.topic, 0)", "unsure = False",
        _ONCE + "test_redis_rolled_back_past_outputs",
    ),
    Fault(
        "once", "a value that is remembered answers an older question", "worker/automations/deliver.py",
        "if self._begun and self.unsure != EVERYTHING:", "if self.unsure != EVERYTHING:",
        _ONCE + "test_what_is_remembered_before_the_question_answers_nothing",
    ),
    Fault(
        "consent", "a mail goes to a suppressed address", "worker/automations/deliver.py",
        "        if reasons:\n", "        if not reasons and act.unwritten:\n",
        "tests/automations/test_mails.py::test_no_mail_to_a_suppressed_address_whatever_lead_has_it",
    ),
)  # fmt: skip


def planted(fault: Fault, root: Path = ROOT) -> str:
    """Return the faulty text of the file. Raises `ValueError` where what is to be changed does not stand there once."""
    text = root.joinpath(fault.file).read_text(encoding="utf-8")
    if text.count(fault.good) != 1:
        raise ValueError(f"{fault.file}: {fault.good!r} stands there {text.count(fault.good)} times: plant {fault.what!r} anew")
    return text.replace(fault.good, fault.bad)


def seen(fault: Fault, copy: Path) -> bool:
    """Plant *fault* in *copy*, run its test, mend it, and return whether the test failed as tests do (pytest's exit code 1)."""
    file = copy / fault.file
    good = file.read_text(encoding="utf-8")
    file.write_text(planted(fault, copy), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.planted"]
        command += ["--hypothesis-profile=planted", fault.test]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    finally:
        file.write_text(good, encoding="utf-8")
    if run.returncode not in (0, 1):
        raise RuntimeError(f"{fault.test} with {fault.what!r}:\n{run.stdout[-2_000:]}{run.stderr[-2_000:]}")
    return run.returncode == 1


@click.command()
@click.argument("words", nargs=-1)
def main(words: tuple[str, ...]) -> None:
    """Plant each fault and print whether its test saw it, as a table; WORDS choose those whose line has one of them."""
    missed = 0
    click.echo("| property | fault | seen by | s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        for fault in FAULTS:
            if words and not any(word in " ".join(fault) for word in words):
                continue
            began = time.monotonic()
            found = seen(fault, copy)
            missed += not found
            test = fault.test.removeprefix("tests/core/")
            click.echo(
                f"| {fault.holds} | {fault.what} | {f'`{test}`' if found else '**nobody**'} | {time.monotonic() - began:.0f} |"
            )
    if missed:
        raise click.ClickException(f"{missed} planted faults were not seen: mend the tests")


if __name__ == "__main__":
    main()
