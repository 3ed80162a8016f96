//! Several changes in one run of ip(8) or bridge(8).

use super::error::EmulatedError;
use crate::linux::BATCH_WITHIN;
use crate::transport::{Cmd, Shell};

/// One of several operations in a row failed; those before it were done.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Which, from 0.
    pub at: usize,
    /// Why.
    pub error: EmulatedError,
}

impl From<EmulatedError> for Failed {
    fn from(error: EmulatedError) -> Self {
        Self { at: 0, error }
    }
}

impl From<Failed> for EmulatedError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Runs `ip -batch` with `lines`, inside `namespace` if one is given.
pub(super) fn batch(shell: &dyn Shell, namespace: Option<&str>, lines: &[String]) -> Result<(), Failed> {
    batch_of("ip", shell, namespace, lines)
}

/// Does the same with another `program` of iproute2.
pub(super) fn batch_of(
    program: &'static str,
    shell: &dyn Shell,
    namespace: Option<&str>,
    lines: &[String],
) -> Result<(), Failed> {
    let Some(last) = lines.len().checked_sub(1) else {
        return Ok(());
    };
    let place = namespace.into_iter().flat_map(|name| ["-n", name]);
    let argv = [program].into_iter().chain(place).chain(["-batch", "-"]);
    let output = shell
        .run(&Cmd::new(argv).fed(lines.join("\n") + "\n").within(BATCH_WITHIN))
        .map_err(|error| Failed {
            at: 0,
            error: error.into(),
        })?;
    if output.status == 0 {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let at = stderr
        .rsplit_once("Command failed -:")
        .and_then(|(_, number)| number.trim().parse::<usize>().ok())
        .map_or(0, |number| number.saturating_sub(1).min(last));
    Err(Failed {
        at,
        error: EmulatedError::Refused {
            program,
            line: lines[at].clone(),
            message: stderr.lines().next().unwrap_or_default().to_owned(),
        },
    })
}
