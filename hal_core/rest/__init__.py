"""The HTTP room: a small HTTP/1.1 server for any ASGI app, and the app that serves HAL under /v1.

It parses requests, puts messages into the kernel's inbox and answers from the durable state. It decides nothing
about jobs, and it never imports kernel, agent, sessions or sim: the kernel is passed in (see `port.py`).
"""
