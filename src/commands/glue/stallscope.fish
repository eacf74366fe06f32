
# What the definitions cannot know is asked of the program itself: pids, members or ports of this machine's servers.
function __fish_stallscope_servers
    command stallscope __complete $argv[1] 2>/dev/null
end
