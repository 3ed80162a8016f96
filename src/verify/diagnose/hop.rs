//! One hop of a path, and what is wrong with it.

use std::fmt;

use serde::Serialize;

use crate::lab::HostName;
use crate::state::DomainName;

/// What stops packets at a hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong and where.
    pub text: String,
    /// What shows it: commands in backticks, and where they are run.
    pub shown_by: Option<String>,
    /// What repairs it, in the same form.
    pub fix: Option<String>,
    /// It stops the packets; otherwise it may, and whether it does cannot be seen.
    pub certain: bool,
    /// It sends the packets elsewhere, or changes where they come from: their replies prove nothing.
    #[serde(skip)]
    pub diverts: bool,
}

impl Finding {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            shown_by: None,
            fix: None,
            certain: true,
            diverts: false,
        }
    }

    /// Adds the command that shows it, run on `at`.
    pub(super) fn shown(mut self, at: &dyn fmt::Display, command: &str) -> Self {
        self.shown_by = Some(format!("`{command}` on {at}"));
        self
    }

    /// Adds the command that repairs it, run on `at`.
    pub(super) fn fixed(mut self, at: &dyn fmt::Display, command: &str) -> Self {
        self.fix = Some(format!("`{command}` on {at}"));
        self
    }

    /// Adds that `netlab up` repairs it.
    pub(super) fn fixed_by_up(mut self) -> Self {
        self.fix = Some("`netlab up`".to_owned());
        self
    }

    /// Adds that `netlab resume` repairs it.
    pub(super) fn resumed(mut self, domain: &DomainName) -> Self {
        self.fix = Some(format!("`netlab resume {} {}`", domain.lab(), domain.vm()));
        self
    }

    /// Adds that `netlab link` clears a request.
    pub(super) fn released(mut self) -> Self {
        self.fix = Some("`netlab link LAB`, which lists requests and clears them".to_owned());
        self
    }

    /// Marks it as one that diverts the packets.
    pub(super) fn diverting(mut self) -> Self {
        self.diverts = true;
        self
    }

    /// Marks it as one that may stop the packets.
    pub(super) fn possible(mut self) -> Self {
        self.certain = false;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Some(shown_by) = &self.shown_by {
            write!(f, "; shown by {shown_by}")?;
        }
        match &self.fix {
            Some(fix) => write!(f, "; fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// The machine, e.g. `node1`, `guest vm1`.
    pub at: String,
    /// What the packets pass there.
    pub what: String,
    /// What was observed of it; absent: nothing.
    pub evidence: Option<String>,
    /// What stops the packets there.
    pub finding: Option<Finding>,
    /// The link of a host, switch or router at which they can be captured.
    #[serde(skip)]
    pub link: Option<(HostName, String)>,
    /// To the destination, or back.
    pub back: bool,
}

impl Hop {
    pub(super) fn new(at: impl fmt::Display, what: impl Into<String>) -> Self {
        Self {
            at: at.to_string(),
            what: what.into(),
            evidence: None,
            finding: None,
            link: None,
            back: false,
        }
    }

    /// A hop on a link.
    pub(super) fn on_link(machine: &HostName, link: &str, what: impl Into<String>) -> Self {
        Self {
            link: Some((machine.clone(), link.to_owned())),
            ..Self::new(machine, what)
        }
    }

    /// Adds what was observed.
    pub(super) fn shows(mut self, evidence: Option<String>) -> Self {
        self.evidence = evidence;
        self
    }

    /// Adds what is wrong.
    pub(super) fn found(mut self, finding: Option<Finding>) -> Self {
        self.finding = finding;
        self
    }

    /// Marks it as one that the replies pass.
    pub(super) fn back(mut self) -> Self {
        self.back = true;
        self
    }
}

/// Returns what stops the packets: the first that certainly does, else the first that may.
pub fn first(hops: &[Hop]) -> Option<&Finding> {
    let mut findings = hops.iter().filter_map(|hop| hop.finding.as_ref());
    findings
        .clone()
        .find(|finding| finding.certain)
        .or_else(|| findings.next())
}
