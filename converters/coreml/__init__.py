"""Core ML: each graph becomes an ML Program of its own, is executed as saved, compared, and published as SwiftPM."""
