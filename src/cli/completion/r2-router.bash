# bash completion for r2-router
_r2_router() {
  local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]#=}
  COMPREPLY=($("${COMP_WORDS[0]}" completion bash "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2> /dev/null))
  COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")  # without descriptions
  case ${COMPREPLY[*]-} in
    FILE) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -f -- "$word")) ;;
    DIR) compopt -o filenames 2> /dev/null; COMPREPLY=($(compgen -d -- "$word")) ;;
  esac
}
complete -F _r2_router r2-router
