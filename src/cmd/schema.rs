//! `netlab schema`: the JSON schema of lab files.

use super::Context;
use super::error::CommandError;
use crate::lab::schema;

pub fn run(context: &Context) -> Result<(), CommandError> {
    let schema = schema();
    context.answer_unchanged(&format!("{schema:#}\n"), &schema)
}
