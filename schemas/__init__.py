"""The vocabulary every runtime shares: contracts, topics, events, features, codes, keys."""
