"""What happens between two Kafka topics: authorization, risk features, cache, dead letters."""
