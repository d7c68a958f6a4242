# fish completion for r2-router
function __r2_router_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l option (string match -r '^--[^=]*=' -- "$word")
    set -l value (string replace -- "$option" "" "$word")
    set -l found ($words[1] completion fish $words "$word" 2> /dev/null)
    switch "$found"
        case FILE
            set found (__fish_complete_path "$value")
        case DIR
            set found (__fish_complete_directories "$value")
    end
    printf '%s\n' "$option"$found
end
complete -c r2-router -f -a '(__r2_router_complete)'
