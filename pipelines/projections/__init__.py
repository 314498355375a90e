"""Read models folded from events and from silver: functions of the cut, never fed twice."""
