//! What there is of domains on a host: a lab's own, and those of others, which must be known to keep away from them.

use std::collections::BTreeMap;
use std::thread;

use virt::connect::Connect;
use virt::domain::{Domain as VirDomain, DomainStateReason, DomainStateReasonEnum};
use virt::enumutil::Enum;
use virt::error::Error;
use virt::sys;

use super::{NO_DOMAIN, code, failed, kvm, xml_failed};
use crate::host::HostError;
use crate::lab::LabName;
use crate::libvirt::domain_xml::{CONFIGURED_URI, Definitions, Node, name_of, read};
use crate::state::{Condition, Domain, DomainName, DomainSeen, Survey};
use crate::transport::cmd::Shell;

/// A lab's domains, and how they were found.
pub(super) type Domains = (BTreeMap<DomainName, Domain>, BTreeMap<DomainName, DomainSeen>);

/// The domains of `lab`.
pub(super) fn domains(conn: &Connect, lab: &LabName) -> Result<Domains, HostError> {
    let (mut domains, mut seen) = Domains::default();
    for (name, domain, how) in of_each(conn, |handle| of_lab(handle, lab))? {
        seen.insert(name.clone(), how);
        domains.insert(name, domain);
    }
    Ok((domains, seen))
}

/// A domain and how it was found; none where it is not `lab`'s.
fn of_lab(handle: &VirDomain, lab: &LabName) -> Result<Option<(DomainName, Domain, DomainSeen)>, HostError> {
    let doing = "reading a domain";
    let Some((live, root)) = described(handle)? else {
        return Ok(None);
    };
    if !matches!(name_of(&root), Ok(Some(name)) if name.lab() == lab) {
        return Ok(None);
    }
    let Some((state, reason)) = unless_gone(handle.state(), doing)? else {
        return Ok(None);
    };
    let state = state.to_raw();
    let Some(inactive) = unless_gone(handle.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE), doing)? else {
        return Ok(None);
    };
    let runs = matches!(state, sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_PAUSED);
    let definitions = Definitions {
        inactive: &inactive,
        live: runs.then_some(live.as_str()),
    };
    let Some((name, mut domain)) = read(definitions).map_err(xml_failed(doing))? else {
        return Ok(None);
    };
    domain.running = state == sys::VIR_DOMAIN_RUNNING;
    // An unreadable note counts as none: the guest is then told again.
    let told = root.metadata(CONFIGURED_URI).filter(|_| domain.running);
    domain.configured = told.and_then(|note| serde_json::from_str(&note.text).ok());
    Ok(Some((name, domain, details(&root, condition(state, &reason)))))
}

/// The XML of what runs, or of what is defined where nothing runs.
fn described(handle: &VirDomain) -> Result<Option<(String, Node)>, HostError> {
    let doing = "listing domains";
    let Some(xml) = unless_gone(handle.xml_desc(0), doing)? else {
        return Ok(None);
    };
    let root = Node::parse(&xml).map_err(xml_failed(doing))?;
    Ok(Some((xml, root)))
}

/// What `read` tells of every domain of the host. Several are asked about at a time, since each is a few questions and
/// the way may be long.
fn of_each<T: Send>(
    conn: &Connect,
    read: impl Fn(&VirDomain) -> Result<Option<T>, HostError> + Sync,
) -> Result<Vec<T>, HostError> {
    /// libvirt serves five requests of one connection at a time.
    const WORKERS: usize = 4;
    let handles = conn.list_all_domains(0).map_err(failed("listing domains"))?;
    let read_some = |some: &[VirDomain]| -> Vec<_> { some.iter().map(&read).collect() };
    let share = handles.len().div_ceil(WORKERS).max(1);
    let told: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = handles
            .chunks(share)
            .map(|some| scope.spawn(|| read_some(some)))
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    told.into_iter().filter_map(Result::transpose).collect()
}

/// None for a domain that has gone since it was listed.
fn unless_gone<T>(result: Result<T, Error>, doing: &str) -> Result<Option<T>, HostError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if code(&error) == NO_DOMAIN => Ok(None),
        Err(error) => Err(failed(doing)(error)),
    }
}

/// libvirt's state and its reason in our words.
fn condition(state: u32, reason: &DomainStateReasonEnum) -> Condition {
    let crashed = match reason {
        Enum::Known(DomainStateReason::Shutoff(reason)) => {
            [sys::VIR_DOMAIN_SHUTOFF_CRASHED, sys::VIR_DOMAIN_SHUTOFF_FAILED].contains(&reason.to_raw())
        }
        _ => false,
    };
    match state {
        sys::VIR_DOMAIN_RUNNING => Condition::Running,
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => Condition::Paused,
        sys::VIR_DOMAIN_CRASHED => Condition::Crashed,
        sys::VIR_DOMAIN_SHUTOFF if crashed => Condition::Crashed,
        _ => Condition::ShutOff,
    }
}

fn details(root: &Node, condition: Condition) -> DomainSeen {
    let devices = || root.child("devices").into_iter();
    let screen = devices().flat_map(|d| d.all("graphics")).find_map(|graphics| {
        let port = graphics.attr("port").filter(|port| *port != "-1")?;
        Some(format!("{}:{port}", graphics.attr("listen").unwrap_or("127.0.0.1")))
    });
    let log = devices()
        .flat_map(|d| d.all("serial"))
        .find_map(|serial| serial.child("log")?.attr("file"));
    DomainSeen {
        condition,
        screen,
        console_log: log.map(Into::into),
    }
}

/// Adds to `survey` what libvirt knows: domains and MAC addresses that are not `lab`'s, architectures and KVM.
pub(super) fn survey(conn: &Connect, lab: &LabName, shell: &dyn Shell, survey: &mut Survey) -> Result<(), HostError> {
    for (_, root) in of_each(conn, described)? {
        let owner = match name_of(&root) {
            Ok(Some(name)) if name.lab() == lab => continue,
            Ok(Some(name)) => format!("lab {}", name.lab()),
            _ => "someone else".to_owned(),
        };
        let name = root.child("name").map(|n| n.text.clone()).unwrap_or_default();
        for nic in root.child("devices").iter().flat_map(|d| d.all("interface")) {
            if let Some(Ok(mac)) = nic.child("mac").and_then(|m| m.attr("address")).map(str::parse) {
                survey.foreign_macs.insert(mac, name.clone());
            }
        }
        survey.foreign_domains.insert(name, owner);
    }
    let doing = "reading libvirt's capabilities";
    let xml = conn.capabilities().map_err(failed(doing))?;
    let capabilities = Node::parse(&xml).map_err(xml_failed(doing))?;
    for arch in capabilities.all("guest").filter_map(|guest| guest.child("arch")) {
        survey.arches.insert(arch.attr("name").unwrap_or_default().to_owned());
    }
    survey.kvm = kvm::kvm(&capabilities, shell)?;
    Ok(())
}
