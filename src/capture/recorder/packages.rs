//! Which installed packages a server has loaded, and in which version: as far as versions of them matter to anybody.
//!
//! Loaded is what a mapped file or a frame on a stack belongs to; the folders beside it tell the version. Never imports,
//! runs or asks anything.

use std::collections::BTreeSet;

use super::watched::Watched;
use crate::capture::model::Package;
use crate::target::recognise;

/// Distributions by the folder of their code. Several may have the same one.
const KNOWN: &[(&str, &[&str])] = &[
    ("gunicorn", &["gunicorn"]),
    ("gevent", &["gevent"]),
    ("eventlet", &["eventlet"]),
    ("greenlet", &["greenlet"]),
    ("uvicorn", &["uvicorn"]),
    ("uvloop", &["uvloop"]),
    ("tornado", &["tornado"]),
    ("psycopg2", &["psycopg2", "psycopg2_binary"]),
    ("psycopg", &["psycopg"]),
    ("psycopg_c", &["psycopg_c"]),
    ("psycopg_binary", &["psycopg_binary"]),
    ("newrelic", &["newrelic"]),
    ("ddtrace", &["ddtrace"]),
    ("elasticapm", &["elastic_apm"]),
    ("scout_apm", &["scout_apm"]),
    ("appoptics_apm", &["appoptics_apm"]),
    ("instana", &["instana"]),
    ("sentry_sdk", &["sentry_sdk"]),
    ("opentelemetry", &["opentelemetry_sdk", "opentelemetry_api"]),
];

/// Where packages are installed.
const SITES: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// The packages that processes of one server have loaded, who have their files in one place.
pub fn loaded<'w>(processes: impl IntoIterator<Item = &'w Watched>) -> Vec<Package> {
    let processes: Vec<&Watched> = processes.into_iter().collect();
    let Some(first) = processes.first() else { return Vec::new() };
    let pythons = processes.iter().filter_map(|watched| watched.python.as_ref());
    let frames: Vec<String> = pythons.flat_map(super::python::Python::files_seen).collect();
    let of_frames = frames.iter().filter_map(|file| split(file));
    let mapped = processes.iter().flat_map(|watched| &watched.packages);
    let used: BTreeSet<(&str, &str)> =
        of_frames.chain(mapped.map(|(site, package)| (&**site, &**package))).collect();
    let sites: BTreeSet<&str> = used.iter().map(|(site, _)| *site).collect();
    let mut packages = BTreeSet::new();
    for site in sites {
        let wanted = KNOWN.iter().filter(|(module, _)| used.contains(&(site, *module)));
        let distributions: Vec<&str> = wanted.flat_map(|(_, names)| names.iter().copied()).collect();
        if distributions.is_empty() {
            continue;
        }
        let folders = super::python::list_below_root(&first.dir, site).unwrap_or_default();
        packages.extend(versions(&distributions, &folders));
    }
    packages.into_iter().collect()
}

/// The packages that mapped files belong to, each with the folder that it is installed in.
pub fn mapped(files: &[String]) -> BTreeSet<(String, String)> {
    files.iter().filter_map(|file| split(file)).map(|(site, package)| (site.into(), package.into())).collect()
}

/// The folder that packages are installed in, and the package, of a file.
fn split(file: &str) -> Option<(&str, &str)> {
    let end = SITES.iter().find_map(|site| file.rfind(site).map(|at| at + site.len()))?;
    let (site, rest) = file.split_at_checked(end)?;
    // The loader of binary wheels keeps the libraries of a package in a folder beside it.
    let package = rest.split('/').next()?.trim_end_matches(".libs");
    Some((site, package))
}

/// The versions that the names of folders tell.
fn versions(distributions: &[&str], folders: &[String]) -> Vec<Package> {
    let one = |name: &&str| {
        let spelled = [(*name).to_owned(), name.replace('_', "-")];
        let version = folders.iter().find_map(|folder| {
            spelled.iter().find_map(|name| recognise::distribution_version(folder, name))
        })?;
        Some(Package { name: name.replace('_', "-"), version })
    };
    distributions.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_its_package() {
        let site = "/v/lib/python3.13/site-packages/";
        assert_eq!(split(&format!("{site}gevent/hub.py")), Some((site, "gevent")));
        assert_eq!(split(&format!("{site}psycopg_binary.libs/libpq.so.5")), Some((site, "psycopg_binary")));
        assert_eq!(split("/usr/lib/python3.11/selectors.py"), None);
    }

    #[test]
    fn folders_tell_versions_in_either_spelling() {
        let folders =
            ["psycopg2_binary-2.9.9.dist-info", "elastic-apm-6.1.egg-info", "gevent-21.12.0.dist-info"];
        let folders = folders.map(str::to_owned);
        let found = versions(&["psycopg2_binary", "elastic_apm", "psycopg2", "gevent"], &folders);
        let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
        assert_eq!(found, [("psycopg2-binary", "2.9.9"), ("elastic-apm", "6.1"), ("gevent", "21.12.0")]);
    }
}
