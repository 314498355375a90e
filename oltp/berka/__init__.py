"""The Berka bank files (PKDD'99) as accounts, cards, credits and ledger entries of ours.

`load.run` is the way in: files -> checked rows (`files`) -> rows of our tables (`mapping`,
`schedule`) -> COPY (`load`). Ids derive from the source's, so a second run adds nothing.
"""
