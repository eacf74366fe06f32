//! Secrets in command lines and in local variables, made unreadable before anybody else sees them.
//!
//! Takes the arguments of a process, gives them back with passwords, tokens, keys and the user part of
//! addresses replaced by [`MASK`]. When in doubt it masks: a report and a capture are made to be passed on.
//! Masking what is masked already changes nothing, so a replayed capture reads like the live look.
//! It cannot know a bare secret that no name announces (`mysql -phunter2`).

use super::model::{Capture, Header, Record};
use crate::python::values::Discretion;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Whether secrets in command lines and local variables are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Values {
    /// They are replaced by [`MASK`].
    #[default]
    Masked,
    /// They are shown (`--show-values`).
    Shown,
}

/// Masks a whole capture, unless values are to be shown.
pub fn capture(capture: &mut Capture, values: Values) {
    if values == Values::Masked {
        header(&mut capture.header);
        capture.records.iter_mut().for_each(record);
    }
}

/// Masks the command line in a header.
pub fn header(header: &mut Header) {
    arguments(&mut header.target.cmdline);
}

/// Masks the command line in a record, if it has one.
pub fn record(record: &mut Record) {
    if let Record::Process(process) = record {
        arguments(&mut process.cmdline);
    }
}

/// Masks the secrets in the arguments of one process.
pub fn arguments(arguments: &mut [String]) {
    let mut secret_follows = false;
    for argument in arguments {
        let is_value = secret_follows && !argument.starts_with("--");
        secret_follows = !is_value && announces_secret(argument);
        if is_value {
            MASK.clone_into(argument);
        } else if !secret_follows {
            *argument = mask_text(argument);
        }
    }
}

/// Whether an argument is a flag whose value is the next argument: `--password`, `-token`.
fn announces_secret(argument: &str) -> bool {
    argument.starts_with('-') && !argument.contains(['=', ':', ' ']) && is_secret_name(argument)
}

impl Discretion for Values {
    fn hides(&self, name: &str) -> bool {
        *self == Self::Masked && is_secret_name(name)
    }

    fn masked(&self, text: &str) -> String {
        match self {
            Self::Shown => text.to_owned(),
            Self::Masked => mask_text(&mask_credentials(text)),
        }
    }

    fn mask(&self) -> &'static str {
        MASK
    }
}

/// Masks what follows the word that an HTTP header of credentials begins with.
fn mask_credentials(text: &str) -> String {
    let scheme = text.split_once(' ').map(|(scheme, _)| scheme);
    let known = |scheme: &&str| ["basic", "bearer", "digest"].contains(&scheme.to_ascii_lowercase().as_str());
    scheme.filter(known).map_or_else(|| text.to_owned(), |scheme| format!("{scheme} {MASK}"))
}

/// Masks assignments and addresses inside one text.
fn mask_text(text: &str) -> String {
    let text = mask_addresses(text);
    match secret_starts(&text) {
        Some(start) => format!("{}{MASK}", text.get(..start).unwrap_or_default()),
        None => text,
    }
}

/// Where the value of the first assignment to a secret name begins. All that follows is masked with it: where a
/// secret ends is not known, and the rest of the argument is worth less than the secret.
fn secret_starts(text: &str) -> Option<usize> {
    text.char_indices().filter(|(_, c)| matches!(c, '=' | ':')).find_map(|(at, separator)| {
        let before = text.get(..at)?;
        let unquoted = before.trim_end_matches(['"', '\'', '\\']);
        let name_at = unquoted
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |at| {
                at + unquoted.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
            });
        let name = unquoted.get(name_at..)?;
        // `name:value` is also how programs name an application (`portal:app`); only a quoted name or an
        // HTTP header is an assignment.
        let assigns = separator == '='
            || unquoted.len() < before.len()
            || name.to_ascii_lowercase().ends_with("authorization");
        let value_at = at + separator.len_utf8();
        (assigns && is_secret_name(name) && value_at < text.len()).then_some(value_at)
    })
}

/// Whether a name announces a secret.
fn is_secret_name(name: &str) -> bool {
    const ANYWHERE: [&str; 14] = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "credential",
        "authorization",
        "cookie",
        "sessionid",
        "jwt",
    ];
    const AS_WORD: [&str; 4] = ["key", "pass", "auth", "dsn"];
    let name = name.to_ascii_lowercase();
    let squeezed: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    ANYWHERE.iter().any(|word| squeezed.contains(word))
        || name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| AS_WORD.contains(&word))
}

/// Masks `user:password@` in every address of a text.
fn mask_addresses(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        match user_part_end(address) {
            Some(at) => {
                masked.push_str(MASK);
                masked.push_str(address.get(at..).unwrap_or_default());
                rest = behind;
            }
            None => rest = after,
        }
    }
    masked.push_str(rest);
    masked
}

/// Where the user part of an address ends (at its `@`), if it has one.
fn user_part_end(address: &str) -> Option<usize> {
    let authority = address.split(['/', '?', '#']).next()?;
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    // A password with a raw `/` in it: what stands behind the colon is no port, and an `@` comes later.
    let (_, behind_colon) = authority.split_once(':')?;
    let is_port = behind_colon.chars().all(|c| c.is_ascii_digit());
    if is_port { None } else { address.rfind('@') }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = line.iter().map(ToString::to_string).collect();
        super::arguments(&mut arguments);
        arguments
    }

    #[test]
    fn the_value_behind_a_secret_flag_is_masked() {
        assert_eq!(
            masked(&["app", "--password", "hunter2", "--port", "80"]),
            ["app", "--password", MASK, "--port", "80"]
        );
        assert_eq!(masked(&["app", "--api-token", "-x9"]), ["app", "--api-token", MASK]);
        assert_eq!(masked(&["app", "--db-pass", "a b"]), ["app", "--db-pass", MASK]);
    }

    #[test]
    fn a_secret_flag_without_a_value_hides_nothing() {
        assert_eq!(masked(&["app", "--use-token", "--workers=4"]), ["app", "--use-token", "--workers=4"]);
    }

    #[test]
    fn assignments_are_masked_to_the_end_of_the_argument() {
        for (argument, expected) in [
            ("--password=hunter2", "--password=***"),
            ("SECRET_KEY=abc=def&x", "SECRET_KEY=***"),
            ("key=abc", "key=***"),
            ("--env=API_TOKEN=abc", "--env=API_TOKEN=***"),
            ("postgres://db/x?password=a&ssl=1", "postgres://db/x?password=***"),
            (r#"{"password": "x"}"#, r#"{"password":***"#),
            ("Authorization: Bearer x", "Authorization:***"),
            ("import app; app.run(secret='x')", "import app; app.run(secret=***"),
        ] {
            assert_eq!(masked(&[argument]), [expected], "{argument}");
        }
    }

    #[test]
    fn the_user_part_of_addresses_is_masked() {
        for (argument, expected) in [
            ("redis://:pw@cache:6379/0", "redis://***@cache:6379/0"),
            ("postgresql://u:p@ss@db/x", "postgresql://***@db/x"),
            ("amqp://u:p/w@mq/v", "amqp://***@mq/v"),
            ("a=http://u:p@x b=http://v:q@y", "a=http://***@x b=http://***@y"),
        ] {
            assert_eq!(masked(&[argument]), [expected], "{argument}");
        }
    }

    #[test]
    fn secret_names_hide_what_they_name_in_variables_too() {
        let names =
            ["password", "db_pass", "apiKey", "HTTP_COOKIE", "Authorization", "csrf_token", "session_id"];
        for name in names {
            assert!(Values::Masked.hides(name) && !Values::Shown.hides(name), "{name}");
        }
        for name in ["n", "keyword", "author", "monkey", "request", "passenger"] {
            assert!(!Values::Masked.hides(name), "{name}");
        }
        assert_eq!(Values::Masked.masked("Bearer eyJ0"), "Bearer ***");
        assert_eq!(Values::Masked.masked("redis://:pw@cache/0"), "redis://***@cache/0");
        assert_eq!(Values::Masked.masked("the bearer of news"), "the bearer of news");
        assert_eq!(Values::Shown.masked("Bearer eyJ0"), "Bearer eyJ0");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let line = [
            "/usr/bin/python3",
            "gunicorn",
            "--keyfile",
            "/etc/tls.pem",
            "-b",
            "127.0.0.1:8000",
            "myauth:app",
            "--keep-alive=5",
            "http://host:8000/a@b",
            "worker_tmp_dir=/dev/shm",
            "gunicorn: worker [portal]",
        ];
        assert_eq!(masked(&line), line);
    }

    proptest::proptest! {
        #[test]
        fn masking_twice_is_masking_once(line in proptest::collection::vec("(--?)?(token|key|a)?[=: /@\"]{0,3}(://)?[a-z:@/ü]{0,8}", 0..6)) {
            let mut once = line;
            super::arguments(&mut once);
            let mut twice = once.clone();
            super::arguments(&mut twice);
            proptest::prop_assert_eq!(once, twice);
        }
    }
}
