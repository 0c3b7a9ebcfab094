//! The schema as JSON Schema: what `crashtrace schema` prints.

use schemars::generate::SchemaSettings;

use super::{Line, SCHEMA};

/// Name of the schema. A URN and not an address: nobody need fetch it.
const ID: &str = "urn:crashtrace:v1";

/// JSON Schema (2020-12) of one line.
///
/// It tells what the agent writes, so every field is required, those that may be null too. Other fields are
/// allowed: within v1 they may be added. So may values of an enumeration: who checks lines of a newer agent needs that
/// agent's schema.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    let mut schema =
        SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Line>();
    schema.insert("$id".to_owned(), ID.into());
    schema.insert("title".to_owned(), SCHEMA.into());
    schema.into()
}
