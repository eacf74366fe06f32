//! Completion scripts: what `clap_complete` makes of the definitions, and the glue by which they ask for servers.
//!
//! Where a PID or a port of a server can stand follows from the definitions too: arguments are told by the names of
//! their values, `PID` and `PORT`. A script that no longer looks as the glue expects is a failing test, not a script
//! without servers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use super::generate::GeneratedFile;
use crate::cli::Cli;

const BASH: &str = include_str!("glue/stallscope.bash");
const ZSH: &str = include_str!("glue/stallscope.zsh");
const FISH: &str = include_str!("glue/stallscope.fish");

/// The scripts.
#[must_use]
pub fn scripts() -> Vec<GeneratedFile> {
    let places = Places::of(&Cli::command());
    let file = |name: &str, text: String| GeneratedFile { name: name.into(), bytes: text.into_bytes() };
    vec![
        file("stallscope.bash", bash(&plain(Shell::Bash), &places)),
        file("_stallscope", zsh(&plain(Shell::Zsh))),
        file("stallscope.fish", fish(&plain(Shell::Fish), &places)),
    ]
}

fn plain(shell: Shell) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stallscope", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where servers can stand.
struct Places {
    verbs: BTreeSet<String>,
    /// Verbs that take a PID.
    pid_verbs: BTreeSet<String>,
    pid_options: BTreeSet<String>,
    port_options: BTreeSet<String>,
    value_options: BTreeSet<String>,
}

fn takes(arg: &Arg, what: &str) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == what))
}

/// `--port`, `-d`.
fn flags(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    long.into_iter().chain(arg.get_short().map(|short| format!("-{short}"))).collect()
}

impl Places {
    fn of(root: &Command) -> Self {
        let mut places = Self {
            verbs: root.get_subcommands().map(|verb| verb.get_name().to_owned()).collect(),
            pid_verbs: BTreeSet::new(),
            pid_options: BTreeSet::new(),
            port_options: BTreeSet::new(),
            value_options: BTreeSet::new(),
        };
        for verb in root.get_subcommands() {
            if verb.get_positionals().any(|arg| takes(arg, "PID")) {
                places.pid_verbs.insert(verb.get_name().to_owned());
                verb.get_arguments().for_each(|arg| places.add(arg));
            }
        }
        root.get_arguments().for_each(|arg| places.add(arg));
        places
    }

    fn add(&mut self, arg: &Arg) {
        if arg.is_positional() || !arg.get_action().takes_values() {
            return;
        }
        let of = if takes(arg, "PID") {
            &mut self.pid_options
        } else if takes(arg, "PORT") {
            &mut self.port_options
        } else {
            &mut self.value_options
        };
        of.extend(flags(arg));
    }
}

fn bash(script: &str, places: &Places) -> String {
    let list = |words: &BTreeSet<String>| words.iter().cloned().collect::<Vec<_>>().join("|");
    let glue = BASH
        .replace("@VERBS@", &list(&places.verbs))
        .replace("@PID_VERBS@", &list(&places.pid_verbs))
        .replace("@PID_OPTIONS@", &list(&places.pid_options))
        .replace("@PORT_OPTIONS@", &list(&places.port_options))
        .replace("@VALUE_OPTIONS@", &list(&places.value_options));
    let script = script.replace("complete -F _stallscope ", "complete -F _stallscope_with_servers ");
    // Before it is registered.
    match script.rfind("\nif [[ ") {
        Some(at) => format!("{}{glue}{}", &script[..at], &script[at..]),
        None => script,
    }
}

/// The definitions know two things that can stand first, a PID and a verb; zsh has to be told that they share a place.
fn zsh(script: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut at_root = true;
    for line in script.lines() {
        let line = if line.contains("-- ") && line.starts_with("'::pid") && at_root {
            continue;
        } else if line == "\":: :_stallscope_commands\" \\" {
            at_root = false;
            "\":: :_stallscope_first\" \\".to_owned()
        } else if let Some(rest) = line
            .strip_suffix(":_default' \\")
            .filter(|rest| rest.starts_with("'::pid") || rest.starts_with("':pid"))
        {
            format!("{rest}:_stallscope_pids' \\")
        } else if let Some(rest) = line.strip_suffix(":PID:_default' \\") {
            format!("{rest}:PID:_stallscope_members' \\")
        } else if let Some(rest) = line.strip_suffix(":PORT:_default' \\") {
            format!("{rest}:PORT:_stallscope_ports' \\")
        } else {
            // A PID is followed by what `diagnose` knows.
            line.replace("$line[2]", "$line[1]").replace("(diagnose)", "(diagnose|<->)")
        };
        lines.push(line);
    }
    let mut script = lines.join("\n");
    script.push('\n');
    match script.rfind("\nif [ \"$funcstack[1]\"") {
        Some(at) => format!("{}{ZSH}{}", &script[..at], &script[at..]),
        None => script,
    }
}

fn fish(script: &str, places: &Places) -> String {
    let mut script = format!("{script}{FISH}");
    let root = Cli::command();
    let verbs = places.verbs.iter().cloned().collect::<Vec<_>>().join(" ");
    // "Needs a command" is false while the value of an option is still missing, which is when one is completed.
    let no_verb = format!("not __fish_seen_subcommand_from {verbs}");
    add_fish(&mut script, "__fish_stallscope_needs_command", &no_verb, &root);
    for verb in root.get_subcommands().filter(|verb| places.pid_verbs.contains(verb.get_name())) {
        let this = format!("__fish_seen_subcommand_from {}", verb.get_name());
        add_fish(&mut script, &this, &this, verb);
    }
    script
}

fn add_fish(script: &mut String, pids: &str, values: &str, command: &Command) {
    let start = |condition: &str| format!("complete -c stallscope -n \"{condition}\"");
    let _ = writeln!(script, "{} -f -k -a \"(__fish_stallscope_servers pids)\"", start(pids));
    for (what, kind) in [("PID", "members"), ("PORT", "ports")] {
        for long in command.get_opts().filter(|arg| takes(arg, what)).filter_map(Arg::get_long) {
            let _ = writeln!(
                script,
                "{} -l {long} -x -k -a \"(__fish_stallscope_servers {kind})\"",
                start(values)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> String {
        let file = scripts().into_iter().find(|file| file.name == name).unwrap();
        String::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn bash_is_registered_with_the_glue_and_knows_where_pids_stand() {
        let bash = script("stallscope.bash");
        assert_eq!(bash.matches("complete -F _stallscope_with_servers").count(), 2);
        assert!(
            !bash.contains("complete -F _stallscope ") && !bash.contains("S@"),
            "a place was not filled in"
        );
        assert!(bash.contains("\"\"|diagnose|doctor"), "{bash}");
        let (defined, registered) = (bash.find("_stallscope_with_servers() {"), bash.find("complete -F"));
        assert!(defined.is_some() && defined < registered);
    }

    #[test]
    fn zsh_offers_verbs_and_pids_first_and_members_and_ports_where_they_belong() {
        let zsh = script("_stallscope");
        assert_eq!(zsh.matches("\":: :_stallscope_first\"").count(), 1);
        assert!(zsh.matches(":_stallscope_pids' ").count() >= 2, "diagnose and doctor");
        assert!(zsh.matches(":PID:_stallscope_members' ").count() >= 2, "root and diagnose");
        assert!(zsh.matches(":PORT:_stallscope_ports' ").count() >= 2, "root and diagnose");
        assert!(zsh.contains("(diagnose|<->)") && !zsh.contains("$line[2]"));
        assert!(zsh.find("_stallscope_servers() {") < zsh.find("\nif [ \"$funcstack[1]\""));
    }

    #[test]
    fn fish_asks_at_every_place() {
        let fish = script("stallscope.fish");
        for place in ["__fish_stallscope_needs_command", "__fish_seen_subcommand_from doctor"] {
            assert!(
                fish.contains(&format!("-n \"{place}\" -f -k -a \"(__fish_stallscope_servers pids)\"")),
                "{place}"
            );
        }
        assert!(fish.contains("-l port -x") && fish.contains("-l only -x"));
    }
}
