//! `stallscope dump PID`: every stack now, of threads, greenlets and tasks.

use crate::capture::dump::{self, Wanted};
use crate::capture::mask::{self, Values};
use crate::capture::model::{Role, TargetFacts};
use crate::cli::{DumpArgs, DumpFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::native::names::KnownFiles;
use crate::observe::host;
use crate::observe::kernel_file::FileBudget;
use crate::report;
use crate::report::output::Output;
use crate::report::style::Style;
use crate::target::access::{self, Here};
use crate::target::{Member, Server};

/// Looks once and writes it.
pub fn run(args: &DumpArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let selector = super::diagnose::selector(args.target.pid, args.target.port, args.target.name.as_deref())?;
    let pid = selector.resolve()?;
    let server = Server::find(pid, args.only, &FileBudget::from_limit())?;
    let arch = host::facts()
        .map_err(|e| Error::new(ErrorKind::Io, "this machine's /proc cannot be read", e.to_string()))?
        .arch;
    let values = if args.show_values { Values::Shown } else { Values::Masked };
    let locals = args.locals.then_some(values);
    let mut members: Vec<&Member> = server.members.values().collect();
    members.sort_by_key(|m| (m.role != Role::Arbiter, m.snapshot.pid));
    // Workers have the same libraries.
    let mut known = KnownFiles::default();
    let mut look = |member: &&Member| {
        let native = args.native.then_some(&mut known);
        dump::look(member, &arch, Wanted { locals, native })
    };
    let processes: Vec<_> = members.iter().filter_map(&mut look).collect();
    if processes.is_empty() {
        return Err(Error::new(
            ErrorKind::Gone,
            format!("nothing was seen of process {pid}"),
            "it ended before it could be looked at",
        ));
    }
    // Nothing but refusals is no answer; the one gate that is closed is.
    if processes.iter().all(|p| p.denied)
        && let Some(member) = members.first()
    {
        return Err(access::refusal(&member.dir, &Here::gather()));
    }
    let pointed = args.only.unwrap_or(pid);
    let snapshot =
        server.members.get(&pointed).or_else(|| server.members.get(&server.head)).map(|m| &m.snapshot);
    let mut target = TargetFacts {
        pid: pointed,
        start_time_ticks: snapshot.map_or(0, |s| s.start_time_ticks),
        cmdline: snapshot.map(|s| s.cmdline.clone()).unwrap_or_default(),
        exe: snapshot.and_then(|s| s.exe.clone()),
        cgroup: None,
        container_id: None,
        selected_by: selector.words(),
    };
    if values == Values::Masked {
        mask::arguments(&mut target.cmdline);
    }
    let document = report::dump::document(target, &processes);
    let text = match args.format {
        DumpFormat::Json => report::json::render(&document),
        DumpFormat::Text => {
            report::dump_text::text(&document, Style::choose(args.color.into(), &output.place()))
        }
    };
    output.write(&text)?;
    Ok(0)
}
