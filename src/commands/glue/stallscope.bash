
# What the definitions cannot know is asked of the program itself: pids, members or ports of this machine's servers.
_stallscope_with_servers() {
    local cur="$2" prev="$3" word verb="" kind=""
    local -a kept=() found=()
    _stallscope "$@"
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$word" in
            @VERBS@) verb="$word"; break ;;
        esac
    done
    case "$verb" in
        ""|@PID_VERBS@) ;;
        *) return 0 ;;
    esac
    case "$prev" in
        @PID_OPTIONS@) kind=members ;;
        @PORT_OPTIONS@) kind=ports ;;
        @VALUE_OPTIONS@) return 0 ;;
        *)
            [[ $cur == -* ]] && return 0
            kind=pids
            # Options are offered to whoever begins one.
            for word in "${COMPREPLY[@]}"; do
                [[ $word == -* ]] || kept+=("$word")
            done
            ;;
    esac
    while IFS=$'\t' read -r word _; do
        [[ $word == "$cur"* ]] && found+=("$word")
    done < <(command stallscope __complete "$kind" 2>/dev/null)
    COMPREPLY=("${kept[@]}" "${found[@]}")
    return 0
}
