//! Where a gunicorn listens and where its heartbeats are: one address, several, a socket file, somebody else's socket.

use std::net::TcpListener;
use std::os::fd::AsRawFd;

use super::rig::{Rig, Way, answers, children, free_port, look, version};

/// Starts with two workers and arguments, waits for both, and looks.
fn served(gunicorn: &str, args: &[&str], port: Option<u16>) -> Option<(Rig, super::rig::Look)> {
    let python = version(gunicorn).python()?;
    let rig = Rig::start(&python, Way::Script, &[&["-w", "2"], args, &["app:app"]].concat());
    if let Some(port) = port {
        rig.until("an answer", || answers(port));
    } else {
        rig.until("its socket", || rig.folder().join("web.sock").exists());
    }
    rig.until("its workers", || children(rig.pid()).len() == 2);
    let seen = look(rig.pid());
    Some((rig, seen))
}

#[test]
fn two_addresses_of_both_families_and_a_preloaded_application() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let (one, two) = (free_port(), free_port());
        let (first, second) = (format!("127.0.0.1:{one}"), format!("[::1]:{two}"));
        let args = ["-b", &first, "-b", &second, "--preload", "--worker-tmp-dir", "/dev/shm"];
        let Some((_rig, seen)) = served(gunicorn, &args, Some(one)) else { continue };
        seen.assert_well("two addresses", "sync", 2);
        let mut listen = seen.listen();
        listen.sort();
        assert_eq!(listen, [first, second], "{gunicorn}");
    }
}

#[test]
fn a_socket_file() {
    for gunicorn in ["19.10.0", "27.0.1"] {
        let args = ["-b", "unix:web.sock", "--threads", "2"];
        let Some((_rig, seen)) = served(gunicorn, &args, None) else { continue };
        seen.assert_well("a socket file", "gthread", 2);
        let listen = seen.listen();
        assert!(listen.len() == 1 && listen[0].ends_with("web.sock"), "{gunicorn}: {listen:?}");
    }
}

#[test]
fn a_shared_port() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let port = free_port();
        let bind = format!("127.0.0.1:{port}");
        let Some((_rig, seen)) = served(gunicorn, &["-b", &bind, "--reuse-port"], Some(port)) else {
            continue;
        };
        seen.assert_well("a shared port", "sync", 2);
        assert_eq!(seen.listen(), [bind]);
    }
}

/// As systemd does it: the listener is inherited, and the arbiter is told so by its own pid.
#[test]
fn an_inherited_listener() {
    for gunicorn in ["20.1.0", "27.0.1"] {
        let Some(python) = version(gunicorn).python() else { continue };
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let inherited = nix::unistd::dup(&listener).unwrap();
        let script =
            format!("exec 3<&{}; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$0\" \"$@\"", inherited.as_raw_fd());
        let own = Rig::command(&python, Way::Script, &["-w", "2", "app:app"]);
        let line: Vec<String> = ["sh", "-c", &script].iter().map(|a| (*a).to_owned()).chain(own).collect();
        let rig = Rig::prepared(&line, Way::Script, &[]);
        drop((listener, inherited));
        rig.until_serving(address.port(), 2);
        let seen = look(children(rig.pid())[0]);
        seen.assert_well("an inherited listener", "sync", 2);
        assert_eq!(seen.listen(), [address.to_string()]);
    }
}
