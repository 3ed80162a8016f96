//! How a verb fails, and with which exit code.

use super::output::complain;

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The lab file or the catalog is wrong; shown with the places.
    Invalid(miette::Report),
    /// The command line is wrong.
    Usage(String),
    /// Something did not work.
    Failed {
        /// What.
        message: String,
        /// What the user can do about it.
        help: Option<String>,
    },
    /// A signal came: its number, and what the state of things is now.
    Interrupted(i32, String),
}

impl Failure {
    /// 2 for wrong input, 1 for what did not work, 128 + signal after an interruption.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) | Self::Usage(_) => 2,
            Self::Failed { .. } => 1,
            Self::Interrupted(signal, _) => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
        }
    }

    /// Tells the user, on stderr.
    pub fn report(&self) {
        match self {
            Self::Invalid(report) => complain(&format!("{report:?}")),
            Self::Usage(message) => complain(&format!("error: {message}")),
            Self::Failed { message, help } => {
                complain(&format!("error: {message}"));
                if let Some(help) = help {
                    complain(&format!("help: {help}"));
                }
            }
            Self::Interrupted(signal, message) => complain(&format!("interrupted by signal {signal}: {message}")),
        }
    }
}

/// What went wrong, without the help.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(report) => write!(f, "{report}"),
            Self::Usage(message) | Self::Failed { message, .. } | Self::Interrupted(_, message) => f.write_str(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_exit_code() {
        let failed = Failure::Failed {
            message: "no".to_owned(),
            help: None,
        };
        assert_eq!(Failure::Invalid(miette::miette!("no")).exit_code(), 2);
        assert_eq!(Failure::Usage("no".to_owned()).exit_code(), 2);
        assert_eq!(failed.exit_code(), 1);
        assert_eq!(Failure::Interrupted(2, "no".to_owned()).exit_code(), 130);
        assert_eq!(Failure::Interrupted(15, "no".to_owned()).exit_code(), 143);
    }
}
