"""Completion for zsh, with a line about each word."""

from __future__ import annotations

from cli.completion.tree import Command, Takes, Value

_SCRIPT = r"""#compdef fnmesh
# Completion of fnmesh for zsh. In ~/.zshrc, after compinit: eval "$(fnmesh completion zsh)"
# or once: fnmesh completion zsh > DIRECTORY/_fnmesh, with DIRECTORY in $fpath
__fnmesh_words() { # into reply what can follow: $1 is commands or options, $2 the command
  reply=()
  case "$1:$2" in
@words@
  esac
}
__fnmesh_takes() { # into REPLY what an option takes, or the argument of a number: $1 is the command, $2 which
  REPLY=""
  case "$1:$2" in
@takes@
  esac
}
_fnmesh() {
  local at="" word option="" REPLY
  local -i i number=0
  local -a asked reply found
  for ((i = 2; i < CURRENT; i++)); do
    word="${words[i]}"
    if [[ -n $option ]]; then
      case "$option" in (--server|--workspace|-w) asked+=("$option" "$word") ;; esac
      option=""
      continue
    elif [[ $word == -* ]]; then
      __fnmesh_takes "$at" "$word"
      if [[ -n $REPLY ]]; then option="$word"; fi
      continue
    fi
    __fnmesh_words commands "$at"
    if (( ${reply[(I)${(b)word}:*]} )); then at="${at:+$at }$word"; else number+=1; fi
  done
  if [[ -z $option && ${words[CURRENT]} == --*=* ]]; then
    option="${words[CURRENT]%%=*}"
    compset -P '*='
  fi
  if [[ -n $option ]]; then
    __fnmesh_takes "$at" "$option"
  elif [[ ${words[CURRENT]} == -* ]]; then
    __fnmesh_words options "$at"
    _describe -o option reply
    return
  else
    __fnmesh_words commands "$at"
    if (( $#reply )); then
      _describe command reply
      return
    fi
    __fnmesh_takes "$at" "$number"
  fi
  case "$REPLY" in
    (words\ *) found=(${=REPLY#words }); compadd -- $found ;;
    (function) found=(${(f)"$(command fnmesh function-names $asked 2>/dev/null)"}); compadd -- $found ;;
    (file) _files ;;
  esac
}
if [[ $funcstack[1] == _fnmesh ]]; then _fnmesh "$@"; else compdef _fnmesh fnmesh; fi
"""


def zsh_script(root: Command) -> str:
    """The script."""
    words, takes = [], []
    for command in root.all():
        path = " ".join(command.path)
        if command.commands:
            words.append(_words(f"commands:{path}", [(one.path[-1], one.help) for one in command.commands]))
        options = [(name, one.help) for one in command.options for name in one.names]
        words.append(_words(f"options:{path}", options))
        for option in command.options:
            if option.value.takes is not Takes.NOTHING:
                takes += [_case(f"{path}:{name}", option.value) for name in option.names]
        takes += [_case(f"{path}:{number}", value) for number, value in enumerate(command.arguments)]
    return _SCRIPT.replace("@words@", "\n".join(words)).replace("@takes@", "\n".join(takes))


def _words(pattern: str, words: list[tuple[str, str]]) -> str:
    described = " ".join(_quoted(f"{word}:{about}") for word, about in words)
    return f'    ("{pattern}") reply=({described}) ;;'


def _case(pattern: str, value: Value) -> str:
    kind = f"words {' '.join(value.words)}" if value.takes is Takes.WORDS else value.takes.value
    return f'    ("{pattern}") REPLY="{kind}" ;;'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
