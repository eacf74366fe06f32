
# What the definitions cannot know is asked of the program itself: pids, members or ports of this machine's servers.
_stallscope_servers() {
    local -a found
    local line
    for line in ${(f)"$(command stallscope __complete $1 2>/dev/null)"}; do
        found+=("${line/$'\t'/:}")
    done
    _describe -V -t $1 $2 found
}
_stallscope_pids() { _stallscope_servers pids 'server' }
_stallscope_members() { _stallscope_servers members 'process of a server' }
_stallscope_ports() { _stallscope_servers ports 'listening port' }
_stallscope_first() {
    _alternative 'commands:command:_stallscope_commands' 'pids:server:_stallscope_pids'
}
