"""HTC sessions: the broker between a client and its workers, and the worker. Both run as the session's user.

The client's side is in hal_core.client, which starts a broker as a program and never imports this.
"""
