"""`hal completion SHELL`: a small script for each shell, which asks `hal _complete` for the words that can follow."""

from __future__ import annotations

from collections.abc import Sequence

from hal_core.cli.console import Console

SCRIPTS = {
    "bash": """\
_hal() {
    local IFS=$'\\n'
    COMPREPLY=($(hal _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _hal hal""",
    "zsh": """\
#compdef hal
_hal() {
    local -a found
    found=(${(f)"$(hal _complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -a found; else _files; fi
}
compdef _hal hal""",
    "fish": """\
function __hal_complete
    set -l words (commandline -opc)[2..-1] (commandline -ct)
    hal _complete $words 2>/dev/null
end
complete -c hal -a '(__hal_complete)'""",
}
HELP = """\
Usage: hal completion bash|zsh|fish

Print the completion script of a shell. To have it in every shell from now on:

  bash:  echo 'eval "$(hal completion bash)"' >> ~/.bashrc
  zsh:   echo 'eval "$(hal completion zsh)"' >> ~/.zshrc     (after compinit)
  fish:  hal completion fish > ~/.config/fish/completions/hal.fish"""


def run_words(console: Console, words: Sequence[str]) -> int:
    if len(words) == 1 and words[0] in SCRIPTS:
        console.line(SCRIPTS[words[0]])
        return 0
    console.line(HELP)
    return 0 if words in (["--help"], ["-h"]) else 2
