"""`netpy completion bash|zsh|fish`: prints the script that has the shell ask us. Writes to standard output only.

bash cuts words at `:` and `=`, images and flags have both: its script puts them together again, and gives back only
what follows the last cut. What is between quotes or after a redirection is the shell's own business.
"""

from __future__ import annotations

from engine.cli.command import Call, CommandError, command

BASH = r"""# bash completion for netpy: source <(netpy completion bash)
_netpy() {
    local line=${COMP_LINE:0:COMP_POINT} piece cur cut answer IFS=$' \t\n'
    local -a words=() lines=()
    for piece in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -eq 0 || $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            words+=("")
        fi
        [[ $line == "$piece"* ]] || piece=$line
        words[${#words[@]}-1]+=$piece
        line=${line#"$piece"}
    done
    cur=${words[${#words[@]}-1]}
    mapfile -t lines < <(command "${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    answer=${lines[0]:--}
    COMPREPLY=("${lines[@]:1}")
    COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
    if [[ $answer == *files* ]]; then
        cut=""
        [[ $cur != -*=* ]] || cut=${cur%%=*}=
        mapfile -t lines < <(compgen -f -- "${cur#"$cut"}")
        compopt -o filenames 2>/dev/null
        COMPREPLY+=("${lines[@]/#/$cut}")
    fi
    [[ $answer != *nospace* ]] || compopt -o nospace 2>/dev/null
    for piece in : =; do
        if [[ $COMP_WORDBREAKS == *$piece* && $cur == *$piece* ]]; then
            cut=${cur%"${cur##*"$piece"}"}
            COMPREPLY=("${COMPREPLY[@]#"$cut"}")
            cur=${cur#"$cut"}
        fi
    done
}
complete -F _netpy netpy
"""

ZSH = r"""#compdef netpy
# zsh completion for netpy: source <(netpy completion zsh), or as _netpy in a directory of $fpath
_netpy() {
    local -a lines shown
    local answer line
    lines=("${(@f)$(command netpy __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    answer=$lines[1]
    for line in "${(@)lines[2,-1]}"; do
        [[ -n $line ]] || continue
        if [[ $line == *$'\t'* ]]; then
            shown+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        else
            shown+=("${line//:/\\:}")
        fi
    done
    if (( $#shown )); then
        if [[ $answer == *nospace* ]]; then
            _describe -t netpy netpy shown -S ''
        else
            _describe -t netpy netpy shown
        fi
    fi
    if [[ $answer == *files* ]]; then
        [[ $PREFIX != -*=* ]] || compset -P '*='
        _files
    fi
}
if [[ $funcstack[1] == _netpy ]]; then
    _netpy "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _netpy netpy
fi
"""

FISH = r"""# fish completion for netpy: netpy completion fish | source
function __netpy_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command netpy __complete $words[2..-1] 2>/dev/null)
    test (count $lines) -gt 1; and printf '%s\n' $lines[2..-1]
    if string match -q '*files*' -- $lines[1]
        __fish_complete_path (commandline -ct)
    end
end
complete -c netpy -f -a '(__netpy_complete)'
"""
_SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@command("completion", "bash|zsh|fish", least=1, most=1)
def completion(call: Call) -> int | None:
    """Print the script that completes netpy's command lines in a shell"""
    shell = call.arguments[0]
    if shell not in _SCRIPTS:
        raise CommandError(f'no completion for "{shell}": there is bash, zsh and fish', hint=call.path)
    print(_SCRIPTS[shell], end="")
