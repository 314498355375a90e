"""The guard of capture: is the slot still the one that was read so far, and how full is it?

`judging` decides, `reading` asks Postgres, `remembering` keeps the history and every break.
"""
