//! The listening TCP sockets of a network namespace, quickly: the kernel lists them before all connections.
//!
//! Takes a process, gives inode and port of each listener of its namespace. It stops at the first connection, so that
//! a machine with a hundred thousand of them answers as fast as an idle one.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io::Read;

use super::kernel_file::ProcDir;
use super::parse::lines;
use super::sockets::{Table, parse_line};
use crate::capture::model::SocketState;

/// Most that is read of a table: room for some thousand listeners.
const MAX_BYTES: usize = 1 << 20;

/// Ports by inode.
#[must_use]
pub fn listeners(process: &ProcDir) -> HashMap<u64, u16> {
    let mut found = HashMap::new();
    for path in ["net/tcp", "net/tcp6"] {
        let Ok(mut file) = process.open_file(path) else { continue };
        let mut text = Vec::new();
        let mut piece = vec![0; 16 * 1024];
        let mut done = 0;
        'table: while text.len() < MAX_BYTES {
            match file.read(&mut piece) {
                Ok(length) if length > 0 => text.extend(piece.iter().take(length)),
                _ => break,
            }
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            for line in lines(text.get(done..whole).unwrap_or_default()) {
                match parse_line(Table::Tcp, line) {
                    Some(socket) if socket.state == SocketState::Listen => {
                        found.insert(socket.inode, socket.local_port);
                    }
                    Some(_) => break 'table,
                    None => {} // the heading
                }
            }
            done = whole;
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::observe::kernel_file::FileBudget;

    #[test]
    fn a_listener_is_found_and_a_connection_is_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let me = ProcDir::open(std::process::id() as i32, &FileBudget::new(0)).unwrap();
        let ports: Vec<u16> = listeners(&me).into_values().collect();
        assert!(ports.contains(&address.port()));
        assert!(!ports.contains(&client.local_addr().unwrap().port()));
    }
}
