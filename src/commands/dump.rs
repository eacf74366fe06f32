//! `stallscope dump PID`: every stack now, of threads, greenlets and tasks.

use super::found::{self, Found};
use crate::capture::dump::{self, Wanted, WantedNative};
use crate::capture::mask::{self, Values};
use crate::capture::model::Role;
use crate::cli::{DumpArgs, DumpFormat, DumpLevel};
use crate::error::{Error, ErrorKind, Result};
use crate::native::names::KnownFiles;
use crate::observe::host;
use crate::report;
use crate::report::output::Output;
use crate::report::style::Style;
use crate::target::Member;
use crate::target::access::{self, Here};

/// Looks once and writes it.
pub fn run(args: &DumpArgs) -> Result<u8> {
    let output = Output::open(args.output.as_deref())?;
    let target = &args.target;
    let Found { pid, by, server } = found::find(target.pid, target.port, target.name.as_deref(), args.only)?;
    let arch = host::facts()?.arch;
    let values = if args.show_values { Values::Shown } else { Values::Masked };
    let locals = args.locals.then_some(values);
    let mut members: Vec<&Member> = server.members.values().collect();
    members.sort_by_key(|m| (m.role != Role::Arbiter, m.snapshot.pid));
    // Workers have the same libraries.
    let mut known = KnownFiles::default();
    let mut look = |member: &&Member| {
        let may_stop = args.level == DumpLevel::Burst;
        let native = args.native.then_some(WantedNative { known: &mut known, may_stop });
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
    let mut target = server.pointed_at(args.only.unwrap_or(pid), by);
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
