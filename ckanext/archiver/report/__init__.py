"""The Broken Links report: what it selects, counts, groups and exports. Pages and actions are built on it."""
