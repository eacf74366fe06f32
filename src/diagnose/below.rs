//! What a blocked thread does below Python, in a few words: `recv ← libmysqlclient.so.21 mysql_real_query`, or
//! `deflate_slow ← libz.so.1 deflate` where it computes.
//!
//! Takes the native functions that were seen once, gives words. Pure.

use super::view::ProcessView;
use crate::capture::model::{BelowSeen, NativeFunction};

/// Libraries whose functions every wait ends in.
const C_LIBRARIES: [&str; 5] = ["libc.so", "libc-", "libpthread", "ld-", "[vdso]"];

fn of_c(function: &NativeFunction) -> bool {
    C_LIBRARIES.iter().any(|name| function.library.starts_with(name))
}

/// What was seen of a process below one of these Python stacks.
#[must_use]
pub fn below<'a>(process: &ProcessView<'a>, stacks: impl IntoIterator<Item = u32>) -> Option<&'a BelowSeen> {
    let below = process.below?;
    stacks.into_iter().any(|stack| stack == below.stack).then_some(below)
}

/// Whether it asks a name server.
#[must_use]
pub fn asks_name_server(below: &BelowSeen) -> bool {
    below.functions.iter().any(|function| function.name.contains("getaddrinfo") && of_c(function))
}

/// The call that it sleeps in and who makes it: the function by which the library next to the C library was entered. Nothing
/// where that is the interpreter itself, whose Python frames say more.
#[must_use]
pub fn words(below: &BelowSeen) -> Option<String> {
    let call = below.functions.first().filter(|function| of_c(function))?;
    let inner = below.functions.iter().skip_while(|function| of_c(function));
    let library = &inner.clone().next()?.library;
    if library.starts_with("python") || library.starts_with("libpython") {
        return None;
    }
    let entry = inner.take_while(|function| function.library == *library).last()?;
    let plain = call.name.trim_start_matches("__GI_").trim_start_matches("__libc_").trim_start_matches('_');
    Some(format!("{plain} ← {library} {}", entry.name))
}

/// The function that computes and by which its library was entered; nothing where that is the interpreter's own code.
#[must_use]
pub fn computes(below: &BelowSeen) -> Option<String> {
    let interpreter = |library: &str| library.starts_with("python") || library.starts_with("libpython");
    // What every library calls in the end says less than the library.
    let mut own = below.functions.iter().skip_while(|function| of_c(function));
    let inner = own.next().filter(|function| !interpreter(&function.library))?;
    let entry = own.take_while(|function| function.library == inner.library).last();
    Some(match entry {
        Some(entry) => format!("{} ← {} {}", inner.name, inner.library, entry.name),
        None => format!("{} {}", inner.library, inner.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_that_computes_is_named() {
        let deflate = seen(&[
            ("memcpy", "libc.so.6"),
            ("deflate_slow", "libz.so.1"),
            ("deflate", "libz.so.1"),
            ("zlib_compress_impl", "zlib.cpython-313-x86_64-linux-gnu.so"),
        ]);
        assert_eq!(computes(&deflate).as_deref(), Some("deflate_slow ← libz.so.1 deflate"));
        let one = seen(&[("sha256_compress", "_sha2.so"), ("f", "python3.13")]);
        assert_eq!(computes(&one).as_deref(), Some("_sha2.so sha256_compress"));
        assert_eq!(computes(&seen(&[("sre_ucs1_match", "python3.13")])), None);
        assert_eq!(computes(&seen(&[])), None);
    }

    fn seen(functions: &[(&str, &str)]) -> BelowSeen {
        let function = |(name, library): &(&str, &str)| NativeFunction {
            name: (*name).to_owned(),
            library: (*library).to_owned(),
        };
        BelowSeen { at_ns: 0, pid: 1, stack: 0, functions: functions.iter().map(function).collect() }
    }

    #[test]
    fn the_library_that_waits_is_named() {
        let mysql = seen(&[
            ("__libc_recv", "libc.so.6"),
            ("vio_read", "libmysqlclient.so.21"),
            ("mysql_real_query", "libmysqlclient.so.21"),
            ("_mysql_ConnectionObject_query", "_mysql.cpython-313-x86_64-linux-gnu.so"),
            ("method_vectorcall", "libpython3.13.so.1.0"),
        ]);
        assert_eq!(words(&mysql).as_deref(), Some("recv ← libmysqlclient.so.21 mysql_real_query"));
        let own = seen(&[("clock_nanosleep", "libc.so.6"), ("pysleep", "libpython3.13.so.1.0")]);
        assert_eq!(words(&own), None);
        assert_eq!(words(&seen(&[("f", "libx.so")])), None, "it does not sleep in the C library");
        assert_eq!(words(&seen(&[])), None);
    }

    #[test]
    fn who_asks_a_name_server() {
        let asks = seen(&[("__poll", "libc.so.6"), ("getaddrinfo", "libc.so.6"), ("x", "_socket.so")]);
        assert!(asks_name_server(&asks));
        assert!(!asks_name_server(&seen(&[("__poll", "libc.so.6"), ("uv_getaddrinfo", "loop.so")])));
    }
}
