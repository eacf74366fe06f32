//! Real gunicorns of every generation, started in every usual way: recognised from any of their processes, and well.
//!
//! The virtual environments are built once, below the target folder.

#[path = "gunicorn/rig.rs"]
mod rig;

#[path = "gunicorn/incidents.rs"]
mod incidents;
#[path = "gunicorn/places.rs"]
mod places;
#[path = "gunicorn/settings.rs"]
mod settings;
#[path = "gunicorn/several.rs"]
mod several;

use rig::{Rig, VERSIONS, Version, Way, children, end, free_port, look};

/// Each way of starting, both classes that every version has, from the arbiter's pid and from a worker's.
fn recognised(version: &Version) {
    let Some(python) = version.python() else { return };
    let old = ["19.10.0", "20.0.4"].contains(&version.gunicorn);
    let module = if old { Way::Submodule } else { Way::Module };
    let ways = [(Way::Script, "sync"), (module, "gthread"), (Way::Title, "sync"), (Way::Title, "gthread")];
    let rigs: Vec<_> = ways
        .iter()
        .map(|(way, class)| {
            let port = free_port();
            let bind = format!("127.0.0.1:{port}");
            let threads = if *class == "gthread" { "3" } else { "1" };
            let args = ["-w", "2", "-t", "40", "--threads", threads, "-b", &bind, "app:app"];
            (Rig::start(&python, *way, &args), *way, *class, port)
        })
        .collect();
    for (rig, way, class, port) in &rigs {
        rig.until_serving(*port, 2);
        let worker = children(rig.pid())[0];
        let what = format!("gunicorn {} {way:?} {class}", version.gunicorn);
        let from_worker = std::thread::spawn(move || look(worker));
        for seen in [look(rig.pid()), from_worker.join().unwrap()] {
            seen.assert_well(&what, class, 2);
            let text = format!("{what}: {:#}", seen.json);
            let server = &seen.json["server"];
            assert_eq!(server["version"], version.gunicorn, "{text}");
            assert_eq!(seen.listen(), [format!("127.0.0.1:{port}")], "{text}");
            assert_eq!(seen.pids("arbiter"), [rig.pid()], "{text}");
            assert_eq!(seen.pids("worker"), children(rig.pid()), "{text}");
            // Where a title has taken the place of the arguments, the arbiter's memory tells.
            assert_eq!(server["timeout_s"], 40, "{text}");
            assert_eq!(server["workers_configured"], 2, "{text}");
        }
    }
    end(rigs.into_iter().map(|(rig, ..)| rig).collect());
}

macro_rules! versions {
    ($($test:ident: $index:literal,)*) => { $(
        #[test]
        fn $test() {
            recognised(&VERSIONS[$index]);
        }
    )* };
}

versions! {
    version_19_10: 0,
    version_20_0: 1,
    version_20_1: 2,
    version_21: 3,
    version_22: 4,
    version_23: 5,
    version_25: 6,
    version_27: 7,
}
