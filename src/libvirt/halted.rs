//! Why a domain that was started does not run: it is paused, or its QEMU is stopped.

use std::time::Duration;

use virt::domain::{Domain as VirDomain, DomainStateReason, DomainStateReasonEnum};
use virt::enumutil::Enum;
use virt::sys;

use super::connection::limited;
use super::processes::Processes;
use super::watchdog::cut;
use crate::state::DomainName;

/// How long libvirt may take to return a domain's state, which it has in memory.
const STATE_WITHIN: Duration = Duration::from_secs(5);

/// One guest, observed from outside.
#[derive(Clone)]
pub(super) struct Guest {
    domain: VirDomain,
    name: DomainName,
    processes: Processes,
}

impl Guest {
    pub(super) fn new(domain: VirDomain, name: DomainName, processes: Processes) -> Self {
        Self {
            domain,
            name,
            processes,
        }
    }

    /// Returns why it does not run, if it does not.
    pub(super) fn halted(&self) -> Option<String> {
        // The process first: libvirt may be waiting for it.
        self.processes.halted_guest(&self.name).or_else(|| {
            let domain = self.domain.clone();
            let Some(answer) = limited(STATE_WITHIN, move || domain.state()) else {
                // Without its daemon the console is lost, which is noticed when it is read next.
                let stopped = self.processes.daemon().process?.is_stopped();
                if stopped {
                    cut(self.processes.uri());
                }
                return None;
            };
            let (state, reason) = answer.ok()?;
            paused(state.to_raw(), &reason)
        })
    }
}

/// Returns why a domain in this state is paused, if it is.
pub(super) fn paused(state: u32, reason: &DomainStateReasonEnum) -> Option<String> {
    if state != sys::VIR_DOMAIN_PAUSED {
        return None;
    }
    let reason = match reason {
        Enum::Known(DomainStateReason::Paused(reason)) => reason.to_raw(),
        _ => sys::VIR_DOMAIN_PAUSED_UNKNOWN,
    };
    Some(match reason {
        sys::VIR_DOMAIN_PAUSED_IOERROR => {
            "QEMU paused it after an I/O error on its disk: the file system of that disk on the host may be full"
                .to_owned()
        }
        sys::VIR_DOMAIN_PAUSED_STARTING_UP => "its start was interrupted".to_owned(),
        _ => "it is paused; `netlab resume` resumes it".to_owned(),
    })
}
