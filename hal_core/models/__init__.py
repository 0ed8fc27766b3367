"""Nouns: frozen attrs values that everything else speaks in. They decide nothing."""
