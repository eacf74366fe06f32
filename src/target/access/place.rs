//! Where the tool runs: on the machine itself, or in whose container. What opens a gate depends on it.
//!
//! Pure but for [`Signs::gather`].

use std::path::Path;

use super::super::recognise::container_id;
use crate::observe::kernel_file::read_path;

/// A place to run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The machine itself.
    Host,
    /// A container of Docker.
    Docker,
    /// A container of Podman.
    Podman {
        /// Whether it was started by a user without rights.
        rootless: bool,
    },
    /// A pod.
    Kubernetes,
    /// A task of Amazon's container service.
    Ecs,
    /// Some other container.
    Container,
}

impl Place {
    /// In words.
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::Host => "the machine itself",
            Self::Docker => "a Docker container",
            Self::Podman { rootless: false } => "a Podman container",
            Self::Podman { rootless: true } => "a rootless Podman container",
            Self::Kubernetes => "a Kubernetes pod",
            Self::Ecs => "an ECS task",
            Self::Container => "a container",
        }
    }
}

/// What tells the place.
#[allow(clippy::struct_excessive_bools, reason = "each is something that is there or not")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Whether all namespaces are the machine's own. Then files that containers have are leftovers of an image.
    pub first_namespaces: bool,
    /// `/.dockerenv` is there.
    pub dockerenv: bool,
    /// `/run/.containerenv`, as Podman writes it.
    pub containerenv: Option<String>,
    /// `KUBERNETES_SERVICE_HOST` is set, or a service account is mounted.
    pub kubernetes: bool,
    /// `ECS_CONTAINER_METADATA_URI` is set.
    pub ecs: bool,
    /// Our own control group paths and mounts.
    pub traces: String,
    /// The host name, which is the container's short id unless somebody chose another.
    pub hostname: String,
}

impl Signs {
    /// Looks for them.
    #[must_use]
    pub fn gather(first_namespaces: bool) -> Self {
        let read = |path: &str, limit| {
            read_path(Path::new(path), limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let set = |name: &str| std::env::var_os(name).is_some();
        Self {
            first_namespaces,
            dockerenv: Path::new("/.dockerenv").exists(),
            containerenv: read("/run/.containerenv", 4096).ok(),
            kubernetes: set("KUBERNETES_SERVICE_HOST")
                || Path::new("/var/run/secrets/kubernetes.io/serviceaccount").exists(),
            ecs: set("ECS_CONTAINER_METADATA_URI_V4") || set("ECS_CONTAINER_METADATA_URI"),
            traces: [("/proc/self/cgroup", 64 * 1024), ("/proc/self/mountinfo", 1 << 20)]
                .into_iter()
                .filter_map(|(path, limit)| read(path, limit).ok())
                .collect(),
            hostname: nix::sys::utsname::uname()
                .map(|names| names.nodename().to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    /// The place they tell of. A pod is a container of some runtime, too, so it is asked for first.
    #[must_use]
    pub fn place(&self) -> Place {
        let traces = |name: &str| self.traces.contains(name);
        match &self.containerenv {
            _ if self.first_namespaces => Place::Host,
            _ if self.kubernetes || traces("kubepods") => Place::Kubernetes,
            _ if self.ecs => Place::Ecs,
            Some(text) => Place::Podman { rootless: text.lines().any(|line| line.trim() == "rootless=1") },
            None if traces("/libpod") => Place::Podman { rootless: false },
            None if self.dockerenv || traces("/docker") => Place::Docker,
            None if traces("/lxc") || container_id(&self.traces).is_some() => Place::Container,
            // Namespaces of one's own do not make a container: services and sandboxes have them, too. But whoever has
            // a root file system made in layers is in one.
            None if traces(" / / ") && traces("overlay") => Place::Container,
            None => Place::Host,
        }
    }

    /// The container's name for commands: its short id where that can be told, else a word to fill in.
    #[must_use]
    pub fn container(&self) -> String {
        let id = container_id(&self.traces).map(|id| id.chars().take(12).collect::<String>());
        let is_id = |name: &str| name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
        id.or_else(|| is_id(&self.hostname).then(|| self.hostname.clone()))
            .unwrap_or_else(|| "CONTAINER".into())
    }

    /// The pod's name for commands.
    #[must_use]
    pub fn pod(&self) -> &str {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let fits = !self.hostname.is_empty() && self.hostname.chars().all(plain);
        if fits { &self.hostname } else { "POD" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_an_image_make_no_container() {
        let signs = Signs { first_namespaces: true, dockerenv: true, ..Signs::default() };
        assert_eq!(signs.place(), Place::Host);
        assert_eq!(Signs { first_namespaces: false, ..signs }.place(), Place::Docker);
    }

    #[test]
    fn each_place_is_told_by_its_signs() {
        let id = "0123456789ab".repeat(5) + "cdef";
        let podman = |text: &str| Signs { containerenv: Some(text.into()), ..Signs::default() };
        let traces = |text: String| Signs { traces: text, ..Signs::default() };
        let table = [
            (podman("engine=\"podman-4.3.1\"\nrootless=1\n"), Place::Podman { rootless: true }),
            (podman(""), Place::Podman { rootless: false }),
            (Signs { kubernetes: true, dockerenv: true, ..Signs::default() }, Place::Kubernetes),
            (traces(format!("0::/kubepods.slice/cri-containerd-{id}.scope")), Place::Kubernetes),
            (traces(format!("0::/docker/{id}")), Place::Docker),
            (traces(format!("0::/machine.slice/libpod-{id}.scope")), Place::Podman { rootless: false }),
            (traces(format!("0::/x/{id}")), Place::Container),
            (Signs { ecs: true, ..Signs::default() }, Place::Ecs),
            (Signs::default(), Place::Host),
        ];
        for (signs, place) in table {
            assert_eq!(signs.place(), place, "{signs:?}");
        }
    }

    #[test]
    fn the_container_is_named_where_it_can_be() {
        let id = "0123456789ab".repeat(5) + "cdef";
        let mount = format!("/var/lib/docker/containers/{id}/hostname /etc/hostname rw");
        assert_eq!(Signs { traces: mount, ..Signs::default() }.container(), "0123456789ab");
        assert_eq!(Signs { hostname: "4f0bd5c0c1aa".into(), ..Signs::default() }.container(), "4f0bd5c0c1aa");
        assert_eq!(Signs { hostname: "web".into(), ..Signs::default() }.container(), "CONTAINER");
        assert_eq!(Signs { hostname: "a; b".into(), ..Signs::default() }.pod(), "POD");
    }
}
