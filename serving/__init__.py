"""The HTTP side: authorizations in and out, feature vectors, health and metrics."""
