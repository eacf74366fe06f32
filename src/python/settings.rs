//! The settings that gunicorn's arbiter works with: a configuration file or a hook leaves no other trace outside.
//!
//! Takes the arbiter's main thread, whose outer frame is the arbiter's own loop; gives what its configuration object
//! holds. What is not of the type that a setting must have is not told.

use super::attributes::Looking;
use super::heap::Pages;
use super::layout::Text;
use super::memory::{MemoryReader, ReadError};
use super::object;
use super::objects;
use super::reader::{Pace, Sample, StackReader};
use super::types::{BYTES, LONG, Types, UNICODE};
use super::values::integer;
use crate::target::gunicorn::{Settings, class};

impl<M: MemoryReader> StackReader<M> {
    /// The settings of the arbiter that a thread runs; `None` where it runs none or they could not be read.
    pub fn gunicorn_settings(&mut self, ns_tid: i32) -> Option<Settings> {
        if !matches!(self.sample(ns_tid, Pace::Running), Sample::Changed | Sample::Unchanged) {
            return None;
        }
        let frame = self.frame_places().into_iter().find(|place| {
            self.code(place.frame.code).is_some_and(|code| {
                code.file.ends_with("gunicorn/arbiter.py") && code.function.rsplit('.').next() == Some("run")
            })
        })?;
        self.settings_of(frame.address).ok().flatten()
    }

    /// `self` is the first variable of the frame; it has a configuration, that a dictionary of settings, each with a value.
    fn settings_of(&self, frame: u64) -> Result<Option<Settings>, ReadError> {
        let (version, layout) = (self.interpreter().version, self.interpreter().layout);
        let objects = objects::of(version.major, version.minor, layout.longer_head);
        let blocks = Pages::many(self.memory());
        let looking = Looking { memory: &blocks, layout: &layout, objects: &objects };
        let arbiter = self.first_variable(frame)?;
        let Some(config) = looking.attribute(arbiter, "cfg")? else { return Ok(None) };
        let Some(settings) = looking.attribute(config, "settings")? else { return Ok(None) };
        let mut types = Types::default();
        let value = |name: &str| -> Result<Option<u64>, ReadError> {
            match looking.item(settings, name)? {
                Some(setting) => looking.attribute(setting, "value"),
                None => Ok(None),
            }
        };
        let mut number = |object: Option<u64>| -> Result<Option<u64>, ReadError> {
            let Some(object) = object else { return Ok(None) };
            let kind = types.of(&looking, object)?;
            if kind.flags & LONG == 0 && kind.name != "int" {
                return Ok(None);
            }
            Ok(integer(&looking, kind, object)?.and_then(|number| u64::try_from(number).ok()))
        };
        // Signals change how many workers it keeps, and only there.
        let kept = looking.attribute(arbiter, "_num_workers")?.or(looking.attribute(arbiter, "num_workers")?);
        let workers = number(kept)?.or(number(value("workers")?)?);
        let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let text = if layout.text == Text::Bytes { BYTES } else { UNICODE };
        // A class may be set as an object, too.
        let worker_class = match value("worker_class")? {
            Some(name) if Types::default().of(&looking, name)?.flags & text != 0 => {
                class(&object::text(&blocks, &layout, name)?)
            }
            _ => None,
        };
        Ok(Some(Settings {
            workers: small(workers),
            threads: small(number(value("threads")?)?),
            timeout_s: number(value("timeout")?)?,
            max_requests: small(number(value("max_requests")?)?),
            worker_class,
            bind: Vec::new(),
        }))
    }
}
