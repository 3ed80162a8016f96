//! The domains of a host: a lab's own, and those of others, whose names and MAC addresses must be known to avoid
//! conflicts.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use virt::connect::Connect;
use virt::domain::{Domain as VirDomain, DomainStateReason, DomainStateReasonEnum};
use virt::enumutil::Enum;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use super::halted::paused;
use super::{kvm, machines};
use crate::lab::LabName;
use crate::libvirt::domain_xml::{ADDRESSES_URI, CONFIGURED_URI, Definitions, Node, TASKS_URI, name_of, read};
use crate::state::{Condition, Domain, DomainName, DomainSeen, Survey};
use crate::transport::cmd::Shell;

/// A lab's domains, and the condition they were found in.
pub(super) type Domains = (BTreeMap<DomainName, Domain>, BTreeMap<DomainName, DomainSeen>);

/// Returns the domains of `lab`.
pub(super) fn domains(conn: &Connect, lab: &LabName) -> Result<Domains, LibvirtError> {
    let (mut domains, mut seen) = Domains::default();
    for (name, domain, details) in of_each(conn, |handle| of_lab(handle, lab))? {
        seen.insert(name.clone(), details);
        domains.insert(name, domain);
    }
    Ok((domains, seen))
}

/// Returns the labs that domains of the host are marked with.
pub(super) fn labs(conn: &Connect) -> Result<BTreeSet<LabName>, LibvirtError> {
    let lab = |handle: &VirDomain| {
        let root = described(handle)?;
        let name = root.and_then(|(_, root)| name_of(&root).ok().flatten());
        Ok(name.map(|name| name.lab().clone()))
    };
    Ok(of_each(conn, lab)?.into_iter().collect())
}

/// Reads a domain and its condition; none where it is not `lab`'s.
fn of_lab(handle: &VirDomain, lab: &LabName) -> Result<Option<(DomainName, Domain, DomainSeen)>, LibvirtError> {
    let Some((live, root)) = described(handle)? else {
        return Ok(None);
    };
    if !matches!(name_of(&root), Ok(Some(name)) if name.lab() == lab) {
        return Ok(None);
    }
    let Some((state, reason)) = unless_removed(handle.state())? else {
        return Ok(None);
    };
    let state = state.to_raw();
    let Some(inactive) = unless_removed(handle.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE))? else {
        return Ok(None);
    };
    let active = matches!(state, sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_PAUSED);
    let definitions = Definitions {
        inactive: &inactive,
        live: active.then_some(live.as_str()),
    };
    let Some((name, mut domain)) = read(definitions).map_err(xml_failed(&Operation::ListDomains))? else {
        return Ok(None);
    };
    domain.running = state == sys::VIR_DOMAIN_RUNNING;
    // A record that cannot be read counts as none: the guest is then configured again.
    let record = root.metadata(CONFIGURED_URI).filter(|_| active);
    domain.configured = record.and_then(|record| serde_json::from_str(&record.text).ok());
    // Likewise: everything is then done again.
    let record = root.metadata(TASKS_URI);
    let tasks = record.and_then(|record| serde_json::from_str(&record.text).ok());
    domain.tasks = tasks.unwrap_or_default();
    let mut seen = details(&root, condition(state, &reason));
    seen.halted = paused(state, &reason);
    Ok(Some((name, domain, seen)))
}

/// Returns the live XML of a domain, or that of its definition where it does not run.
fn described(handle: &VirDomain) -> Result<Option<(String, Node)>, LibvirtError> {
    let Some(xml) = unless_removed(handle.xml_desc(0))? else {
        return Ok(None);
    };
    let root = Node::parse(&xml).map_err(xml_failed(&Operation::ListDomains))?;
    Ok(Some((xml, root)))
}

/// Returns what `read` finds of every domain of the host. Several are read at a time: each takes a few round trips,
/// which may be slow over ssh.
fn of_each<T: Send>(
    conn: &Connect,
    read: impl Fn(&VirDomain) -> Result<Option<T>, LibvirtError> + Sync,
) -> Result<Vec<T>, LibvirtError> {
    /// libvirt serves five requests of one connection at a time.
    const WORKERS: usize = 4;
    let handles = conn.list_all_domains(0).map_err(failed(&Operation::ListDomains))?;
    let read_some = |some: &[VirDomain]| -> Vec<_> { some.iter().map(&read).collect() };
    let share = handles.len().div_ceil(WORKERS).max(1);
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = handles
            .chunks(share)
            .map(|some| scope.spawn(|| read_some(some)))
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    results.into_iter().filter_map(Result::transpose).collect()
}

/// Returns none for a domain that was removed since it was listed.
fn unless_removed<T>(result: Result<T, Error>) -> Result<Option<T>, LibvirtError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is(&error, ErrorNumber::NoDomain) => Ok(None),
        Err(error) => Err(failed(&Operation::ListDomains)(error)),
    }
}

/// Translates libvirt's state and its reason.
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
        halted: None,
        screen,
        console_log: log.map(Into::into),
        // A record that cannot be read counts as none: the guest then keeps what is known of it otherwise.
        addresses: root
            .metadata(ADDRESSES_URI)
            .and_then(|record| serde_json::from_str(&record.text).ok())
            .unwrap_or_default(),
    }
}

/// Adds to `survey` the domains and MAC addresses that are not `lab`'s.
pub(super) fn survey_domains(conn: &Connect, lab: &LabName, survey: &mut Survey) -> Result<(), LibvirtError> {
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
        if let Some(uuid) = root.child("uuid") {
            survey.foreign_uuids.insert(uuid.text.to_lowercase(), name.clone());
        }
        survey.foreign_domains.insert(name, owner);
    }
    Ok(())
}

/// Adds to `survey` the architectures that libvirt can run and whether KVM works.
pub(super) fn survey_capabilities(conn: &Connect, shell: &dyn Shell, survey: &mut Survey) -> Result<(), LibvirtError> {
    let operation = Operation::ReadCapabilities;
    let xml = conn.capabilities().map_err(failed(&operation))?;
    let capabilities = Node::parse(&xml).map_err(xml_failed(&operation))?;
    survey.machines = machines::of_capabilities(&capabilities);
    survey.arches = Some(survey.machines.keys().cloned().collect());
    survey.kvm = kvm::kvm(&capabilities, shell)?;
    Ok(())
}
