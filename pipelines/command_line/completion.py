"""Print a script that completes the commands, options and values of encode-once in a shell.

The scripts are generated from the parsers of the commands, so they offer what the help lists.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines.command_line.cli import COMMANDS, main_of, parser_of
from pipelines.command_line.parser import Parser, takes_value, values_to_complete

# "=" is a word of its own in bash. An option that takes one value is over after it; one that takes several goes on.
_BASH = """\
# Completion of encode-once in bash: eval "$(encode-once completion bash)"
_encode_once() {
  local current="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}"
  local option="" options="" values="" paths="" several="" word="" at=0 before=0
  COMPREPLY=()
  for ((at = COMP_CWORD - 1; at > 1; at--)); do
    if [[ "${COMP_WORDS[at]}" == --* ]]; then
      option="${COMP_WORDS[at]}"
      before=$((COMP_CWORD - at - 1))
      if [[ "${COMP_WORDS[at + 1]}" == "=" ]]; then before=$((before > 0 ? before - 1 : 0)); fi
      break
    fi
  done
  if [[ "$current" == "=" ]]; then current=""; fi
  case "$command" in
@OPTIONS@
  esac
  case "$command $option" in
@VALUES@
  esac
  if [[ $COMP_CWORD -le 1 || "$command" == help ]]; then
    values="@COMMANDS@" options="" paths="" before=0
  elif [[ -n "$option" && $before -gt 0 && -z "$several" ]]; then
    option="" values="" paths=""
  fi
  if [[ -n "$option" && $before -eq 0 && "$current" != -* ]]; then options=""; fi
  while IFS= read -r word; do
    COMPREPLY+=("$word")
  done < <(
    compgen -W "$values $options" -- "$current"
    if [[ -n "$paths" ]]; then compgen -f -- "$current"; fi
  )
}
complete -o filenames -F _encode_once encode-once
"""
_ZSH = """\
# Completion of encode-once in zsh: eval "$(encode-once completion zsh)"
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""
_FISH = "# Completion of encode-once in fish: encode-once completion fish | source\n"
SHELLS = ("bash", "zsh", "fish")


class Completion(NamedTuple):
    """What may follow an option: values, paths, nothing known; `takes_value` is False for a switch."""

    flag: str
    help: str
    values: tuple[str, ...]
    paths: bool
    several: bool
    takes_value: bool


def completion_parser() -> Parser:
    """Make the parser of completion."""
    examples = ('eval "$(encode-once completion bash)"', "encode-once completion fish | source")
    parser = Parser(
        "encode-once completion", "Print a script that completes commands and options in a shell.", examples
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def run(argv: Sequence[str]) -> str:
    """Print the script of a shell and return it."""
    shell = completion_parser().parse_args(list(argv)).shell
    text = {"bash": _bash, "zsh": lambda: _ZSH + _bash(), "fish": _fish}[shell]()
    print(text, end="")
    return text


def completions(command: str) -> Iterator[Completion]:
    """Yield what may follow each option of a command; an argument without a name has the flag ""."""
    for _, actions in parser_of(command).groups():
        for action in actions:
            flag = action.option_strings[0] if action.option_strings else ""
            several = action.nargs == "+"
            yield Completion(flag, action.help or "", *values_to_complete(action), several, takes_value(action))


def _bash() -> str:
    options, values = [], []
    for command in COMMANDS:
        known = list(completions(command))
        named = [completion.flag for completion in known if completion.flag]
        options.append(f'    {command}) options="{" ".join([*named, "--help"])}" ;;')
        for completion in known:
            found = [
                f'values="{" ".join(completion.values)}"' if completion.values else "",
                "paths=1" if completion.paths else "",
                "several=1" if completion.several else "",
                "" if completion.takes_value else 'option=""',
            ]
            if any(found):
                values.append(f'    "{command} {completion.flag}") {" ".join(filter(None, found))} ;;')
    script = _BASH.replace("@OPTIONS@", "\n".join(options)).replace("@VALUES@", "\n".join(values))
    return script.replace("@COMMANDS@", " ".join([*COMMANDS, "help", "--help", "--version"]))


def _fish() -> str:
    lines = ["complete -c encode-once -f"]
    for name, command in COMMANDS.items():
        lines.append(f"complete -c encode-once -n __fish_use_subcommand -a {name} -d {_quoted(command.summary)}")
    lines.append("complete -c encode-once -n __fish_use_subcommand -a help -d 'show the options of a command'")
    lines.append(f"complete -c encode-once -n '__fish_seen_subcommand_from help' -a '{' '.join(COMMANDS)}'")
    lines.append("complete -c encode-once -l help -d 'show the help'")
    for name in COMMANDS:
        for completion in completions(name):
            parts = [f"complete -c encode-once -n '__fish_seen_subcommand_from {name}'"]
            if completion.flag:
                parts += [f"-l {completion.flag.removeprefix('--')}", f"-d {_quoted(completion.help)}"]
            if completion.flag and completion.takes_value:
                parts.append("-r -F" if completion.paths else "-x")
            if completion.values:
                parts.append(f"-a '{' '.join(completion.values)}'")
            lines.append(" ".join(parts))
    return _FISH + "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    sys.exit(main_of(run))
