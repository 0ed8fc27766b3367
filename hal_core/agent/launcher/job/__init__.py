"""What runs as the owner of a job, in a process that can be nothing else any more. Touches paths that users can change.

    program.py     open input and output, find the command, execute it
    terminal.py    the pseudo-terminal of an interactive job

Imports nothing of the launcher but the fields, and is called by it in two places (process.py): in a child that has
become the user, and where the job belongs to the very user that the agent runs as. tests/tidy looks.
"""
