//! A capture that can be shown to strangers: names that tell whose server it is, replaced by pseudonyms.
//!
//! Takes a header and records in their order, gives them back with the name and boot identity of the host, the
//! addresses of other machines, home folders, unix sockets, control groups, containers and the arguments of command
//! lines replaced. The same name gets the same pseudonym everywhere in one capture, ports and the rest of every path
//! stay, and the judge looks at neither, so the verdicts are the same and their sentences hold no name to begin with.
//! Functions, files outside of homes and the names of threads stay: without them a report says nothing.
//! Redacting what is redacted already changes nothing. It cannot know what a function's name gives away.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::mask::MASK;
use super::model::{BlindSpot, Capture, Header, ProcessFacts, Record, Socket, SocketFamily};

/// Kinds of name that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Host,
    Boot,
    User,
    Unix,
    Argument,
    Container,
    Group,
    Address4,
    Address6,
}

/// Networks that belong to nobody: for benchmarks (RFC 2544) and for documentation (RFC 3849).
const NETWORK_4: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const MASK_4: u32 = 0xfffe_0000;
const NETWORK_6: u128 = 0x2001_0db8 << 96;
const MASK_6: u128 = 0xffff_ffff << 96;

impl Kind {
    fn pseudonym(self, number: u32) -> String {
        match self {
            Self::Host => format!("host-{number}"),
            Self::Boot => format!("boot-{number}"),
            Self::User => format!("user-{number}"),
            Self::Unix => format!("/unix-{number}"),
            Self::Argument => format!("arg-{number}"),
            Self::Container => format!("container-{number}"),
            Self::Group => format!("group-{number}"),
            Self::Address4 => Ipv4Addr::from_bits(NETWORK_4 | (number & !MASK_4)).to_string(),
            Self::Address6 => Ipv6Addr::from_bits(NETWORK_6 | u128::from(number)).to_string(),
        }
    }

    /// The number of a text that is a pseudonym already.
    fn number_of(self, text: &str) -> Option<u32> {
        let number = match self {
            Self::Address4 => {
                let bits = text.parse::<Ipv4Addr>().ok()?.to_bits();
                (bits & MASK_4 == NETWORK_4).then_some(bits & !MASK_4)?
            }
            Self::Address6 => {
                let bits = text.parse::<Ipv6Addr>().ok()?.to_bits();
                (bits & MASK_6 == NETWORK_6).then(|| u32::try_from(bits & !MASK_6).ok())??
            }
            _ => text.rsplit('-').next()?.parse().ok()?,
        };
        (self.pseudonym(number) == text).then_some(number)
    }
}

/// Gives pseudonyms, and remembers to whom.
#[derive(Debug, Default)]
pub struct Redactor {
    given: HashMap<(Kind, String), String>,
    taken: HashSet<(Kind, u32)>,
    last: HashMap<Kind, u32>,
}

impl Redactor {
    /// Redacts a whole capture.
    pub fn capture(&mut self, capture: &mut Capture) {
        self.header(&mut capture.header);
        capture.records.iter_mut().for_each(|record| self.record(record));
    }

    /// Redacts a header, which comes before its records.
    pub fn header(&mut self, header: &mut Header) {
        self.replace(Kind::Host, &mut header.host.hostname);
        self.replace(Kind::Boot, &mut header.host.boot_id);
        let target = &mut header.target;
        self.arguments(&mut target.cmdline);
        if let Some(id) = &mut target.container_id {
            self.replace(Kind::Container, id);
        }
        if let Some(path) = &mut target.exe {
            *path = self.path(path);
        }
        if let Some(group) = &mut target.cgroup {
            *group = self.group(group);
        }
        if let Some(name) = target.selected_by.strip_prefix("name ") {
            target.selected_by = format!("name {}", self.pseudonym(Kind::Argument, name));
        }
        self.listening(&mut header.server.listen);
    }

    /// Redacts a record.
    pub fn record(&mut self, record: &mut Record) {
        match record {
            Record::Process(process) => self.process(process),
            Record::Frame { frame, .. } => frame.file = self.path(&frame.file),
            Record::Descriptors { fds, .. } => fds.iter_mut().for_each(|fd| fd.link = self.path(&fd.link)),
            Record::Sockets { sockets, .. } => sockets.iter_mut().for_each(|socket| self.socket(socket)),
            Record::Cgroup(sample) => sample.path = self.group(&sample.path),
            Record::Blind(spot) => self.blind_spot(spot),
            Record::Gone { .. }
            | Record::Name { .. }
            | Record::Stack { .. }
            | Record::Tick(_)
            | Record::Threads { .. }
            | Record::EpollSet { .. }
            | Record::Readiness { .. }
            | Record::LoopClock { .. }
            | Record::Heartbeat { .. }
            | Record::Host(_)
            | Record::Tasks(_)
            | Record::Below(_)
            // It holds numbers only.
            | Record::Burst { .. }
            | Record::End(_) => {}
        }
    }

    /// A path with the owners of home folders replaced.
    pub fn path(&mut self, path: &str) -> String {
        const HOMES: [&str; 2] = ["/home/", "/Users/"];
        let mut redacted = String::with_capacity(path.len());
        let mut rest = path;
        while let Some(at) = HOMES.iter().filter_map(|home| Some(rest.find(home)? + home.len())).min() {
            let (before, behind) = rest.split_at(at);
            let end = behind
                .find(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | '"' | '\'' | ')'))
                .unwrap_or(behind.len());
            let (owner, behind) = behind.split_at(end);
            redacted.push_str(before);
            if !owner.is_empty() {
                redacted.push_str(&self.pseudonym(Kind::User, owner));
            }
            rest = behind;
        }
        redacted + rest
    }

    fn process(&mut self, process: &mut ProcessFacts) {
        self.arguments(&mut process.cmdline);
        self.listening(&mut process.listen);
        if let Some(group) = &mut process.cgroup {
            *group = self.group(group);
        }
    }

    fn socket(&mut self, socket: &mut Socket) {
        for end in [&mut socket.local, &mut socket.remote] {
            if socket.family == SocketFamily::Unix {
                self.replace(Kind::Unix, end);
            } else {
                *end = self.address(end);
            }
        }
    }

    fn listening(&mut self, listen: &mut [String]) {
        for place in listen {
            *place = match place.strip_prefix("unix:") {
                Some(path) => format!("unix:{}", self.pseudonym(Kind::Unix, path)),
                None => self.address(place),
            };
        }
    }

    /// Arguments: the program and the names of options stay.
    fn arguments(&mut self, arguments: &mut [String]) {
        for (position, argument) in arguments.iter_mut().enumerate() {
            let kept = match argument.find('=') {
                Some(at) if argument.starts_with("--") => at + 1,
                _ if argument.starts_with("--") => argument.len(),
                // `-w4`: the option is one letter.
                _ if argument.starts_with('-') => argument.chars().take(2).map(char::len_utf8).sum(),
                // A program may have written a title of its own over its arguments: `gunicorn: worker [shop]`.
                _ if position == 0 => argument.find(char::is_whitespace).map_or(argument.len(), |at| at + 1),
                _ => 0,
            };
            let (kept, value) = argument.split_at(kept);
            let kept = self.path(kept);
            *argument = if value == MASK || value.is_empty() {
                kept + value
            } else {
                kept + &self.pseudonym(Kind::Argument, value)
            };
        }
    }

    /// A control group: the parts that every system has stay, and so does the depth.
    fn group(&mut self, path: &str) -> String {
        const EVERYWHERE: [&str; 7] = [
            "system.slice",
            "user.slice",
            "machine.slice",
            "init.scope",
            "docker",
            "kubepods",
            "kubepods.slice",
        ];
        let parts = path.split('/').map(|part| {
            if part.is_empty() || part == ".." || EVERYWHERE.contains(&part) {
                part.to_owned()
            } else {
                self.pseudonym(Kind::Group, part)
            }
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// An address with or without a port. That of the own machine tells nothing, and neither does that of any.
    fn address(&mut self, text: &str) -> String {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return SocketAddr::new(self.ip(address.ip()), address.port()).to_string();
        }
        text.parse().map_or_else(|_| text.to_owned(), |ip| self.ip(ip).to_string())
    }

    fn ip(&mut self, address: IpAddr) -> IpAddr {
        if address.is_loopback() || address.is_unspecified() {
            return address;
        }
        let mapped = match address {
            IpAddr::V4(four) => return self.four(four).into(),
            IpAddr::V6(six) => six.to_ipv4_mapped(),
        };
        match mapped {
            Some(four) if four.is_loopback() || four.is_unspecified() => address,
            Some(four) => self.four(four).to_ipv6_mapped().into(),
            None => self.pseudonym(Kind::Address6, &address.to_string()).parse().unwrap_or(address),
        }
    }

    fn four(&mut self, address: Ipv4Addr) -> Ipv4Addr {
        self.pseudonym(Kind::Address4, &address.to_string()).parse().unwrap_or(address)
    }

    /// Sentences about what was not seen: they hold what the kernel or the user named.
    fn blind_spot(&mut self, spot: &mut BlindSpot) {
        for text in [&mut spot.what, &mut spot.why, &mut spot.remedy] {
            *text = self.prose(text);
        }
    }

    fn prose(&mut self, text: &str) -> String {
        let text = self.path(text);
        let mut redacted = String::with_capacity(text.len());
        for piece in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')')) {
            let word = piece.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == ']'));
            let known = [Kind::Host, Kind::Unix, Kind::Container]
                .into_iter()
                .find_map(|kind| self.given.get(&(kind, word.to_owned())).cloned());
            redacted.push_str(&known.unwrap_or_else(|| self.address(word)));
            redacted.push_str(piece.get(word.len()..).unwrap_or_default());
        }
        redacted
    }

    fn replace(&mut self, kind: Kind, name: &mut String) {
        if !name.is_empty() {
            *name = self.pseudonym(kind, name);
        }
    }

    fn pseudonym(&mut self, kind: Kind, name: &str) -> String {
        if let Some(number) = kind.number_of(name) {
            self.taken.insert((kind, number));
            return name.to_owned();
        }
        if let Some(given) = self.given.get(&(kind, name.to_owned())) {
            return given.clone();
        }
        // What looked like a pseudonym before it was one keeps its number.
        let last = self.last.entry(kind).or_default();
        *last += 1;
        while self.taken.contains(&(kind, *last)) {
            *last += 1;
        }
        let number = *last;
        let pseudonym = kind.pseudonym(number);
        self.given.insert((kind, name.to_owned()), pseudonym.clone());
        pseudonym
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = line.iter().map(ToString::to_string).collect();
        Redactor::default().arguments(&mut arguments);
        arguments
    }

    #[test]
    fn options_stay_and_their_values_go() {
        assert_eq!(
            words(&[
                "/home/alice/venv/bin/python",
                "-m",
                "shop",
                "-w4",
                "--bind=10.0.0.1:80",
                "--password=***",
                "shop"
            ]),
            [
                "/home/user-1/venv/bin/python",
                "-m",
                "arg-1",
                "-warg-2",
                "--bind=arg-3",
                "--password=***",
                "arg-1"
            ]
        );
        assert_eq!(words(&["gunicorn: worker [shop]"]), ["gunicorn: arg-1"]);
    }

    #[test]
    fn addresses_keep_their_ports_and_their_equality() {
        let mut redactor = Redactor::default();
        let mut redacted = |text: &str| redactor.address(text);
        assert_eq!(redacted("10.0.0.5:5432"), "198.18.0.1:5432");
        assert_eq!(redacted("10.0.0.6:5432"), "198.18.0.2:5432");
        assert_eq!(redacted("10.0.0.5:6379"), "198.18.0.1:6379");
        assert_eq!(redacted("[::ffff:10.0.0.5]:80"), "[::ffff:198.18.0.1]:80");
        assert_eq!(redacted("[fd00::5]:80"), "[2001:db8::1]:80");
        for own in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:127.0.0.1]:80", ""] {
            assert_eq!(redacted(own), own);
        }
    }

    #[test]
    fn homes_go_and_the_rest_of_a_path_stays() {
        let mut redactor = Redactor::default();
        assert_eq!(redactor.path("/home/alice/shop/views.py"), "/home/user-1/shop/views.py");
        assert_eq!(redactor.path("/Users/bob"), "/Users/user-2");
        assert_eq!(redactor.path("/net/home/alice/x:/home/bob/y"), "/net/home/user-1/x:/home/user-2/y");
        assert_eq!(redactor.path("/srv/shop/views.py"), "/srv/shop/views.py");
        assert_eq!(redactor.path("/home/"), "/home/");
    }

    #[test]
    fn groups_keep_their_depth() {
        let mut redactor = Redactor::default();
        assert_eq!(redactor.group("/system.slice/shop.service/x"), "/system.slice/group-1/group-2");
        assert_eq!(redactor.group("/system.slice/shop.service"), "/system.slice/group-1");
        assert_eq!(redactor.group("/"), "/");
    }

    #[test]
    fn sentences_lose_the_names_that_are_known() {
        let mut redactor = Redactor::default();
        redactor.pseudonym(Kind::Host, "vm");
        assert_eq!(
            redactor.prose("the kvm of vm (10.0.0.5:80) says: /home/alice/x is closed, ask 10.0.0.5."),
            "the kvm of host-1 (198.18.0.1:80) says: /home/user-1/x is closed, ask 198.18.0.1."
        );
    }

    #[test]
    fn what_looks_like_a_pseudonym_keeps_its_number() {
        let mut redactor = Redactor::default();
        let mut named = |name: &str| redactor.pseudonym(Kind::User, name);
        assert_eq!(
            ["user-1", "alice", "user-1", "bob"].map(&mut named),
            ["user-1", "user-2", "user-1", "user-3"]
        );
    }

    proptest::proptest! {
        #[test]
        fn redacting_twice_is_redacting_once(
            line in proptest::collection::vec("(--?)?[a-z]{0,3}=?(/home/)?[a-z:@/ü.0-9 ]{0,8}", 0..6),
            path in "(/home/|/Users/|/srv/)?[a-z/ :]{0,12}",
            address in proptest::prelude::any::<std::net::SocketAddr>(),
        ) {
            let mut first = Redactor::default();
            let mut once = line;
            first.arguments(&mut once);
            let (path, address) = (first.path(&path), first.address(&address.to_string()));
            let mut second = Redactor::default();
            let mut twice = once.clone();
            second.arguments(&mut twice);
            proptest::prop_assert_eq!(once, twice);
            proptest::prop_assert_eq!(&second.path(&path), &path);
            proptest::prop_assert_eq!(&second.address(&address), &address);
        }
    }
}
