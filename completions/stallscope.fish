# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_stallscope_global_optspecs
    string join \n port= name= replay= d/duration= max-duration= r/rate= level= only= format= o/output= save= fail-on= color= show-values redact q/quiet v/verbose h/help V/version
end

function __fish_stallscope_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_stallscope_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_stallscope_using_subcommand
    set -l cmd (__fish_stallscope_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c stallscope -n "__fish_stallscope_needs_command" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l replay -d 'A saved capture in the place of a process' -r -F
complete -c stallscope -n "__fish_stallscope_needs_command" -s d -l duration -d 'How long to look: 3s, 500ms, 1m' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l max-duration -d 'How far an undecided look may go on' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -s r -l rate -d 'Samples per second' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l level -d 'The most that is done: proc, memory, or burst (which stops it, for 50 ms at most)' -r -f -a "proc\t'Read kernel files only: processor time and queues, no stacks'
memory\t'Also read the target\'s memory: stacks'
burst\t'Also stop threads that spin, where that firms up the verdict: once, 50 ms and 200 stops at most'"
complete -c stallscope -n "__fish_stallscope_needs_command" -l only -d 'Look at this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l format -d 'Form: text (default), json, ndjson, markdown, github, junit, sarif, html' -r -f -a "text\t'For people'
json\t'For programs: the document that schema/report-v1.json describes'
ndjson\t'The same as a JSON object for each line: schema/ndjson-v1.json'
markdown\t'For a comment on a pull request'
github\t'Annotations of a GitHub workflow'
junit\t'A test for each process as XML, for GitLab, Jenkins and others'
sarif\t'SARIF 2.1.0, for code scanning'
html\t'A page for a browser, in one file'"
complete -c stallscope -n "__fish_stallscope_needs_command" -s o -l output -d 'Write the report to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_needs_command" -l save -d 'Keep what was seen, to be replayed anywhere' -r -F
complete -c stallscope -n "__fish_stallscope_needs_command" -l fail-on -d 'Exit code 1 for: warning, critical (default), never or verdicts (a,b)' -r
complete -c stallscope -n "__fish_stallscope_needs_command" -l color -d 'Colour: auto (respects `NO_COLOR`), always or never' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_needs_command" -l show-values -d 'Show passwords and keys in command lines'
complete -c stallscope -n "__fish_stallscope_needs_command" -l redact -d 'Pseudonyms for hosts, peers, homes, sockets and arguments'
complete -c stallscope -n "__fish_stallscope_needs_command" -s q -l quiet -d 'Say the verdicts only'
complete -c stallscope -n "__fish_stallscope_needs_command" -s v -l verbose -d 'Also say where the time went, thread by thread'
complete -c stallscope -n "__fish_stallscope_needs_command" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_needs_command" -s V -l version -d 'Print version'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "diagnose" -d 'Say what is wrong with each worker of a server (the default)'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "dump" -d 'Show every stack now: threads, greenlets, asyncio tasks, running and suspended'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "record" -d 'Record where the time goes: flame graph, speedscope, pprof, Chrome trace, folded stacks'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "doctor" -d 'Say what may be read here, what not, why, and what opens it'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "top" -d 'Live view of a server and its workers'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "diff" -d 'Two reports side by side: what became better, what worse'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "merge" -d 'One summary of many reports: which hosts are bad, and what they have in common'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "trace" -d 'Show the system calls of each thread, decoded (this stops threads, briefly)'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "portal" -d 'The reference portal: a server to try things on, with faults to choose from'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "demo" -d 'Portal, fault and diagnosis in one go'
complete -c stallscope -n "__fish_stallscope_needs_command" -a "generate" -d 'Write man pages, shell completions or JSON Schemas'
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l replay -d 'A saved capture in the place of a process' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s d -l duration -d 'How long to look: 3s, 500ms, 1m' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l max-duration -d 'How far an undecided look may go on' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s r -l rate -d 'Samples per second' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l level -d 'The most that is done: proc, memory, or burst (which stops it, for 50 ms at most)' -r -f -a "proc\t'Read kernel files only: processor time and queues, no stacks'
memory\t'Also read the target\'s memory: stacks'
burst\t'Also stop threads that spin, where that firms up the verdict: once, 50 ms and 200 stops at most'"
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l only -d 'Look at this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l format -d 'Form: text (default), json, ndjson, markdown, github, junit, sarif, html' -r -f -a "text\t'For people'
json\t'For programs: the document that schema/report-v1.json describes'
ndjson\t'The same as a JSON object for each line: schema/ndjson-v1.json'
markdown\t'For a comment on a pull request'
github\t'Annotations of a GitHub workflow'
junit\t'A test for each process as XML, for GitLab, Jenkins and others'
sarif\t'SARIF 2.1.0, for code scanning'
html\t'A page for a browser, in one file'"
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s o -l output -d 'Write the report to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l save -d 'Keep what was seen, to be replayed anywhere' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l fail-on -d 'Exit code 1 for: warning, critical (default), never or verdicts (a,b)' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l color -d 'Colour: auto (respects `NO_COLOR`), always or never' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l show-values -d 'Show passwords and keys in command lines'
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -l redact -d 'Pseudonyms for hosts, peers, homes, sockets and arguments'
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s q -l quiet -d 'Say the verdicts only'
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s v -l verbose -d 'Also say where the time went, thread by thread'
complete -c stallscope -n "__fish_stallscope_using_subcommand diagnose" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l only -d 'Look at this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l level -d 'The most that is done: memory, or burst (which stops threads that run, for microseconds)' -r -f -a "memory\t'Read the target\'s memory'
burst\t'Also stop threads that run, each for the moment of a copy: 16 times a process at most'"
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs: the document that schema/dump-v1.json describes'"
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -s o -l output -d 'Write it to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l locals -d 'Show the local variables of each frame, as short texts'
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l native -d 'Show native and kernel frames of sleeping threads and suspended greenlets, joined with those of Python'
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -l show-values -d 'Show passwords and keys in command lines and local variables'
complete -c stallscope -n "__fish_stallscope_using_subcommand dump" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s d -l duration -d 'How long to record: 30s, 5m; until Ctrl-C if not given' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s r -l rate -d 'Samples per second, 1000 at most' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l mode -d 'Which time: all of it, that on a processor, or that blocked' -r -f -a "wall\t'All of it: running, blocked and parked'
cpu\t'Time on a processor'
blocked\t'Time in which threads sleep in anything but waiting for work'"
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l by -d 'What to tell apart: nothing (the same stack in all workers is one), workers or threads' -r -f -a "server\t'By nothing'
worker\t'By worker'
thread\t'By worker and thread'"
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l only -d 'Look at this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -l format -d 'Form of the recording; if not given, the ending of the file\'s name says it, else folded stacks' -r -f -a "collapsed\t'One line for each stack, with its microseconds: .folded, .collapsed, .txt'
flamegraph\t'A picture for browsers: .svg'
speedscope\t'For speedscope.app: .speedscope.json'
pprof\t'For pprof, Pyroscope, Parca, Perfetto: .pb.gz, .pprof'
chrome\t'What came after what, for Perfetto (ui.perfetto.dev) and Chrome: .trace.json'"
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s o -l output -d 'Write it to a file: .svg, .speedscope.json, .pb.gz, .trace.json or .folded (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s i -l idle -d 'Also show what waits for work: threads, and what the server keeps for itself (with --mode wall)'
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s q -l quiet -d 'Say nothing but errors'
complete -c stallscope -n "__fish_stallscope_using_subcommand record" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand doctor" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'For programs: the document that schema/doctor-v1.json describes'"
complete -c stallscope -n "__fish_stallscope_using_subcommand doctor" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l replay -d 'A saved capture in the place of a process' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l only -d 'Look at this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -s r -l rate -d 'Samples per second' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l window -d 'Time that each verdict is about' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l fps -d 'Pictures per second, at most' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l level -d 'The most that is done to the target; neither level stops it' -r -f -a "proc\t'Read kernel files only: processor time and queues, no stacks'
memory\t'Also read the target\'s memory: stacks'"
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l picture -d 'Write one picture of the view (SVG) instead of showing it' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l size -d 'Size of that picture in columns and lines' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l ascii -d 'Use ASCII only'
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -l show-values -d 'Show passwords and keys in command lines'
complete -c stallscope -n "__fish_stallscope_using_subcommand top" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand diff" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs: a document that schema/ describes'
markdown\t'For a comment on a pull request'"
complete -c stallscope -n "__fish_stallscope_using_subcommand diff" -s o -l output -d 'Write it to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand diff" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand diff" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand merge" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs: a document that schema/ describes'
markdown\t'For a comment on a pull request'"
complete -c stallscope -n "__fish_stallscope_using_subcommand merge" -s o -l output -d 'Write it to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand merge" -l fail-on -d 'What gives exit code 1: warning, critical, never, or verdicts joined by commas' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand merge" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand merge" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l port -d 'Owner of the socket that listens on this port' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l name -d 'Server whose name contains this' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l only -d 'Trace this process of the server only' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l engine -d 'What sees the calls: ptrace stops threads, perf nobody, auto takes perf where it is permitted' -r -f -a "ptrace\t'Stops at each call'
perf\t'Events of the kernel: stops nobody, and does not see names, addresses and what polls report'
auto\t'`perf` where that is permitted, else `ptrace`'"
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -s d -l duration -d 'How long each process is traced, at most 10s' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l max-stops -d 'Stops (by ptrace) of each process, at most: two for each call' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l max-events -d 'Events (by perf) of each process, at most: two for each call' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs: the document that schema/trace-v1.json describes'
ndjson\t'The same as a JSON object for each line: a `call` for each call'"
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -s o -l output -d 'Write it to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l undisturbed -d 'Leave out threads that sleep in a call which a stop ends with EINTR'
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -l show-values -d 'Show passwords and keys in command lines'
complete -c stallscope -n "__fish_stallscope_using_subcommand trace" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -f -a "up" -d 'Bring it up'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -f -a "down" -d 'Take it down'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -f -a "faults" -d 'List its faults and the verdict that each must get'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -f -a "compare" -d 'The story: a server under its fault, then the same with other workers, and what changed'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and not __fish_seen_subcommand_from up down faults compare validate" -f -a "validate" -d 'Prove the verdicts: run labelled scenarios, look at each, and score what is said'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l stack -d 'Software that it runs on' -r -f -a "period\t'The versions of the time of the story'
modern\t'Today\'s versions'
builtin\t'What is installed, nothing fetched'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l worker-class -d 'gunicorn\'s worker class' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l workers -d 'Number of workers' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l threads -d 'Threads of each worker' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l timeout -d 'gunicorn\'s worker timeout, seconds; 0 switches it off' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l port -d 'Port to listen on; a free one if not given' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l dir -d 'Folder for its files' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l fault -d 'Fault to bring it up with' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -l no-nginx -d 'Without nginx in front'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from up" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from down" -l dir -d 'Folder of its files' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from down" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from faults" -l format -d 'Form of the list' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from faults" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l before -d 'Worker class of the first server' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l after -d 'Worker class of the second server' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l connections -d 'Connections that ask for the landing page again and again' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l stack -d 'Software that both run on' -r -f -a "period\t'The versions of the time of the story'
modern\t'Today\'s versions'
builtin\t'What is installed, nothing fetched'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l format -d 'Form of the answer' -r -f -a "text\t'For people'
json\t'For programs: a document that schema/ describes'
markdown\t'For a comment on a pull request'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -s o -l output -d 'Write it to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -l color -d 'When to colour (`NO_COLOR` is respected)' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from compare" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l repeats -d 'How often each scenario is run' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l only -d 'Scenarios whose id contains this (`*` stands for anything)' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l set -d 'Which scenarios: those the rules were made with, other implementations, what happens in production, or all' -r -f -a "tune\t'Those the rules were made with'
held-out\t'Other implementations of the same faults, held out when the rules were made'
third\t'What happens in production, written when both had been used'
all\t'All'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l level -d 'The most that is done to the target; neither level stops it' -r -f -a "proc\t'Read kernel files only: processor time and queues, no stacks'
memory\t'Also read the target\'s memory: stacks'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l replay -d 'Judge kept captures in the place of processes' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l keep -d 'Keep the captures in a folder' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l format -d 'Form of the report' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -s o -l output -d 'Write the report to a file (`-` for standard output)' -r -F
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l quick -d 'The small matrix, once each'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -l list -d 'List the scenarios, run none'
complete -c stallscope -n "__fish_stallscope_using_subcommand portal; and __fish_seen_subcommand_from validate" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand demo" -l worker-class -d 'gunicorn\'s worker class' -r
complete -c stallscope -n "__fish_stallscope_using_subcommand demo" -l stack -d 'Software that the portal runs on' -r -f -a "period\t'The versions of the time of the story'
modern\t'Today\'s versions'
builtin\t'What is installed, nothing fetched'"
complete -c stallscope -n "__fish_stallscope_using_subcommand demo" -s h -l help -d 'Print help'
complete -c stallscope -n "__fish_stallscope_using_subcommand generate" -s h -l help -d 'Print help'

# What the definitions cannot know is asked of the program itself: pids, members or ports of this machine's servers.
function __fish_stallscope_servers
    command stallscope __complete $argv[1] 2>/dev/null
end
complete -c stallscope -n "__fish_stallscope_needs_command" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "not __fish_seen_subcommand_from demo diagnose diff doctor dump generate merge portal record top trace" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "not __fish_seen_subcommand_from demo diagnose diff doctor dump generate merge portal record top trace" -l port -x -k -a "(__fish_stallscope_servers ports)"
complete -c stallscope -n "__fish_seen_subcommand_from diagnose" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from diagnose" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "__fish_seen_subcommand_from diagnose" -l port -x -k -a "(__fish_stallscope_servers ports)"
complete -c stallscope -n "__fish_seen_subcommand_from dump" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from dump" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "__fish_seen_subcommand_from dump" -l port -x -k -a "(__fish_stallscope_servers ports)"
complete -c stallscope -n "__fish_seen_subcommand_from record" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from record" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "__fish_seen_subcommand_from record" -l port -x -k -a "(__fish_stallscope_servers ports)"
complete -c stallscope -n "__fish_seen_subcommand_from doctor" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from top" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from top" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "__fish_seen_subcommand_from top" -l port -x -k -a "(__fish_stallscope_servers ports)"
complete -c stallscope -n "__fish_seen_subcommand_from trace" -f -k -a "(__fish_stallscope_servers pids)"
complete -c stallscope -n "__fish_seen_subcommand_from trace" -l only -x -k -a "(__fish_stallscope_servers members)"
complete -c stallscope -n "__fish_seen_subcommand_from trace" -l port -x -k -a "(__fish_stallscope_servers ports)"
