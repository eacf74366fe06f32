//! The JSON Schemas of the documents, generated from the types that are written.
//!
//! `schema/` holds what this file gives; a test compares them, so the published schema cannot fall behind.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::diff::Comparison;
use super::doctor::Doctor;
use super::dump::DumpDocument;
use super::merge::Fleet;
use super::model::{ErrorDocument, Report};
use super::ndjson::Line;
use super::trace::TraceDocument;
use super::trace_lines::TraceLine;
use super::validate::Validation;

/// A schema and the file that it belongs into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    /// File name inside the schema folder.
    pub name: &'static str,
    /// Its contents.
    pub text: String,
}

/// The schemas of all documents.
#[must_use]
pub fn all() -> Vec<SchemaFile> {
    vec![
        SchemaFile { name: "report-v1.json", text: schema::<Report>("stallscope report, version 1") },
        SchemaFile { name: "dump-v1.json", text: schema::<DumpDocument>("stallscope dump, version 1") },
        SchemaFile { name: "ndjson-v1.json", text: schema::<Line>("stallscope report as lines, version 1") },
        SchemaFile { name: "error-v1.json", text: schema::<ErrorDocument>("stallscope error, version 1") },
        SchemaFile { name: "doctor-v1.json", text: schema::<Doctor>("stallscope doctor, version 1") },
        SchemaFile { name: "diff-v1.json", text: schema::<Comparison>("stallscope diff, version 1") },
        SchemaFile { name: "merge-v1.json", text: schema::<Fleet>("stallscope merge, version 1") },
        SchemaFile { name: "trace-v1.json", text: schema::<TraceDocument>("stallscope trace, version 1") },
        SchemaFile {
            name: "trace-ndjson-v1.json",
            text: schema::<TraceLine>("stallscope trace as lines, version 1"),
        },
        SchemaFile {
            name: "validate-v1.json",
            text: schema::<Validation>("stallscope portal validate, version 1"),
        },
    ]
}

/// What is written is described, not what is accepted: every key is there, unknown ones may follow.
fn schema<T: JsonSchema>(title: &str) -> String {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    super::json::render(&schema)
}
