//! The published schemas, to hold documents against.

use serde_json::Value;

/// A schema of the folder `schema/`.
pub struct Schema {
    known: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    pub fn of(name: &str) -> Self {
        let path = format!("{}/schema/{name}", env!("CARGO_MANIFEST_DIR"));
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (mut known, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource(name, schema).unwrap();
        let index = compiler.compile(name, &mut known).unwrap();
        Self { known, index }
    }

    pub fn check(&self, document: &Value) -> Result<(), String> {
        self.known.validate(document, self.index).map_err(|error| format!("{error}: {document:.400}"))
    }
}
