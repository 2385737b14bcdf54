"""Completion for bash. Needs nothing but bash 3.2 or newer, so macOS's own will do."""

from __future__ import annotations

from cli.completion.tree import Command, Takes, Value

# Words are matched here and not by `compgen -W`, which would expand what a mesh answers.
_SCRIPT = r"""# Completion of fnmesh for bash. In ~/.bashrc: eval "$(fnmesh completion bash)"
__fnmesh_words() { # what can follow: $1 is commands or options, $2 the command
  case "$1:$2" in
@words@
  esac
}
__fnmesh_takes() { # what an option takes, or the argument of a number: $1 is the command, $2 which
  case "$1:$2" in
@takes@
  esac
}
_fnmesh() {
  # The line itself: COMP_WORDS is split at = and : too.
  local IFS=$' \t\n' line="${COMP_LINE:0:COMP_POINT}" at="" cur="" word kind option="" number=0 typed asked=()
  read -ra typed <<<"$line"
  if [[ $line != *[[:space:]] ]]; then
    cur="${typed[${#typed[@]} - 1]}"
    unset "typed[${#typed[@]} - 1]"
  fi
  for word in "${typed[@]:1}"; do
    if [[ -n $option ]]; then
      case "$option" in --server | --workspace | -w) asked+=("$option" "$word") ;; esac
      option=""
    elif [[ $word == -* ]]; then
      if [[ -n "$(__fnmesh_takes "$at" "$word")" ]]; then option="$word"; fi
    elif [[ " $(__fnmesh_words commands "$at") " == *" $word "* ]]; then
      at="${at:+$at }$word"
    else
      number=$((number + 1))
    fi
  done
  if [[ $cur == --*=* ]]; then
    option="${cur%%=*}"
    cur="${cur#*=}"
  fi
  COMPREPLY=()
  if [[ -n $option ]]; then
    kind="$(__fnmesh_takes "$at" "$option")"
  elif [[ $cur == -* ]]; then
    kind="words $(__fnmesh_words options "$at")"
  elif [[ -n "$(__fnmesh_words commands "$at")" ]]; then
    kind="words $(__fnmesh_words commands "$at")"
  else
    kind="$(__fnmesh_takes "$at" "$number")"
  fi
  case "$kind" in
    words\ *) kind="${kind#words }" ;;
    function) kind="$(command fnmesh function-names ${asked[@]+"${asked[@]}"} 2>/dev/null)" ;;
    file)
      compopt -o filenames 2>/dev/null
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur")
      return
      ;;
    *) return ;;
  esac
  for word in $kind; do
    if [[ $word == "$cur"* ]]; then COMPREPLY+=("$word"); fi
  done
}
complete -F _fnmesh fnmesh
"""


def bash_script(root: Command) -> str:
    """The script."""
    words, takes = [], []
    for command in root.all():
        path = " ".join(command.path)
        if command.commands:
            words.append(_case(f"commands:{path}", " ".join(one.path[-1] for one in command.commands)))
        words.append(_case(f"options:{path}", " ".join(name for one in command.options for name in one.names)))
        for option in command.options:
            if option.value.takes is not Takes.NOTHING:
                takes += [_case(f"{path}:{name}", _kind(option.value)) for name in option.names]
        takes += [_case(f"{path}:{number}", _kind(value)) for number, value in enumerate(command.arguments)]
    return _SCRIPT.replace("@words@", "\n".join(words)).replace("@takes@", "\n".join(takes))


def _case(pattern: str, answer: str) -> str:
    return f'    "{pattern}") echo "{answer}" ;;'


def _kind(value: Value) -> str:
    return f"words {' '.join(value.words)}" if value.takes is Takes.WORDS else value.takes.value
