"""What people do to links from the report: check them again, leave them alone for a while, take over new addresses.

Everything here is set-based but the edits, which go through ``resource_patch`` one by one, with their activity; is
limited to what the user may edit; and is recorded in ``archiver_action`` with who, when and what.
"""

from ckanext.archiver.link_actions.addresses import (
    MAX_CHECKED,
    MAX_EDITS,
    Applied,
    Move,
    common_beginning,
    moves,
    replace_beginning,
    replacements,
    take_over,
    undo,
    undo_moves,
)
from ckanext.archiver.link_actions.checks import (
    URGENT,
    Progress,
    being_checked,
    check_again,
    progress,
    record_check,
)
from ckanext.archiver.link_actions.rights import editable, may_edit_anything
from ckanext.archiver.link_actions.selection import UNDO_DAYS, Selection, history
from ckanext.archiver.link_actions.snoozes import snooze, wake

__all__ = [
    "MAX_CHECKED",
    "MAX_EDITS",
    "UNDO_DAYS",
    "URGENT",
    "Applied",
    "Move",
    "Progress",
    "Selection",
    "being_checked",
    "check_again",
    "common_beginning",
    "editable",
    "history",
    "may_edit_anything",
    "moves",
    "progress",
    "record_check",
    "replace_beginning",
    "replacements",
    "snooze",
    "take_over",
    "undo",
    "undo_moves",
    "wake",
]
