"""The vocabulary every runtime shares: contracts, topics, events, features, codes and keys. Leaf."""
