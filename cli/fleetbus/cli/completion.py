"""`fleetbus completion`: the shell's half, which asks `fleetbus __complete` for words."""

from __future__ import annotations

from typing import Final

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.invocation import Invocation, pass_invocation

_BASH: Final = r"""
_fleetbus() {
    local IFS=$'\n' before current
    COMPREPLY=()
    current="${COMP_WORDS[COMP_CWORD]}"
    before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    COMPREPLY=($(fleetbus __complete "${before[@]}" "$current" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
    return 0
}
complete -F _fleetbus fleetbus
"""

_ZSH: Final = r"""
#compdef fleetbus
_fleetbus() {
    local -a found
    found=("${(@f)$(fleetbus __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -S '' -- ${(M)found:#*/}
        compadd -- ${found:#*/}
    else
        _files
    fi
}
compdef _fleetbus fleetbus
"""

_FISH: Final = r"""
function __fleetbus_complete
    set -l words (commandline -opc)
    fleetbus __complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c fleetbus -a '(__fleetbus_complete)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@pass_invocation
def command(invocation: Invocation, shell: str) -> int:
    """
    \b
    source <(fleetbus completion bash)
    fleetbus completion fish > ~/.config/fish/completions/fleetbus.fish
    """
    invocation.output.verbatim(SCRIPTS[shell].lstrip())
    return exit_codes.DONE
