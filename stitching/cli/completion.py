"""Completion for shells: commands, and the groups, options and keys of Hydra's overrides.

`stitching completion SHELL` prints a script for the shell. The script calls `stitching completion
query LINE` with the line up to the cursor, which prints one candidate per line.
"""

import re
import sys
from collections.abc import Sequence

from stitching.cli.table import COMMANDS
from stitching.records.words import nearest

_BASH = """\
_stitching() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} cut=
    # bash replaces only what follows the last of these characters
    [[ $COMP_WORDBREAKS == *=* && ${line##* } == *=* ]] && cut="${line##* }" && cut="${cut%=*}="
    COMPREPLY=($(stitching completion query "$line" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=./] ]] && COMPREPLY[0]+=' '
    return 0
}
complete -o default -o nospace -F _stitching stitching
"""

_ZSH = """\
#compdef stitching
_stitching() {
    local -a found
    found=(${(f)"$(stitching completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    (( $#found )) || { _files; return }
    compadd -Q -S '' -- ${(M)found:#*[=.\\/]}
    compadd -Q -- ${found:#*[=.\\/]}
}
compdef _stitching stitching
"""

_FISH = """\
function __stitching
    stitching completion query (commandline -cp) 2>/dev/null
end
complete -c stitching -n 'test -n "$(__stitching)"' -f -a '(__stitching)'
"""

#: Scripts by the shell.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_QUERY = "query"

#: The last item of a value that is a list: `metric=[rmse,lp` ends in `lp`.
_LAST = re.compile(r"(?P<key>[^=]+)=(?P<before>.*[\[,])(?P<last>[^\[,]*)")


def main(words: Sequence[str]) -> int:
    """Print the script of a shell, or the candidates of a line.

    Returns:
        0; 2 if there is no such shell.
    """
    if list(words[:1]) == [_QUERY]:
        print("\n".join(candidates(" ".join(words[1:]))))
        return 0
    shell = words[0] if words else ""
    if shell not in SCRIPTS:
        asked = f"there is no shell {shell}{nearest(shell, SCRIPTS)}; " if shell else ""
        print(f"error: {asked}choose one of {', '.join(SCRIPTS)}", file=sys.stderr)
        return 0 if shell in ("--help", "-h") else 2
    print(SCRIPTS[shell], end="")
    return 0


def candidates(line: str) -> list[str]:
    """Return what the last word of a command line may become; empty for names of files.

    Args:
        line: From the program's name to the cursor; ends in a space where a word begins.

    Example:
        >>> candidates("stitching sta")
        ['status']
    """
    _, *words = f"{line}|".split()
    words[-1:] = [words[-1].removesuffix("|")] if words else []
    if len(words) < 2:
        return [name for name in COMMANDS if name.startswith("".join(words))]
    name, *words, last = words
    if name == "completion":
        return [shell for shell in SCRIPTS if shell.startswith(last)]
    config = COMMANDS[name].config if name in COMMANDS else ""
    if not config or last.startswith("-"):
        return []
    found = _LAST.fullmatch(last)
    if found is None:
        return _overrides(config, words, last)
    options = _overrides(config, words, f"{found['key']}={found['last']}")
    before = f"{found['key']}={found['before']}"
    return [before + option.partition("=")[2] for option in options]


def _overrides(config: str, words: Sequence[str], last: str) -> list[str]:
    """Return Hydra's candidates for an override after others of a configuration."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from stitching.config.compose import initialized, own_folders, register_roles

    folders = own_folders(words)
    register_roles(folders)
    search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"]
    kept = [word for word in words if "=" in word and not word.startswith("-")]
    with initialized():
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        return plugin._query(config, " ".join([*(search if folders else []), *kept, last]))
