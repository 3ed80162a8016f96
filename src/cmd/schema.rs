//! `netlab schema`: the JSON schema of lab files.

use super::Context;
use super::error::Failure;
use crate::lab::schema;

pub fn run(context: &Context) -> Result<(), Failure> {
    let schema = schema();
    context.answer(&format!("{schema:#}\n"), &schema)
}
