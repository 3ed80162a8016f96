//! A domain's life: defined, started paused, resumed, stopped, undefined. Every call is idempotent, so it may be
//! repeated after the connection was lost during it.

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use super::{base, checkpoints, further, logs, seed, volumes};
use crate::lab::Task;
use crate::libvirt::domain_xml::{
    ADDRESSES_PREFIX, ADDRESSES_URI, CONFIGURED_URI, Definitions, Files, Node, Parts, TASKS_PREFIX, TASKS_URI,
    Template, XmlError, XmlWriter, addresses, mark_of, read, render_parts,
};
use crate::state::{Domain, DomainName, GuestConfig, Volume};
use crate::transport::cmd::Shell;

/// Defines a domain, or changes one of netlab's. A domain of the same name without netlab's mark is an error.
pub(super) fn define(
    conn: &Connect,
    name: &DomainName,
    domain: &Domain,
    template: &Template,
    shell: &dyn Shell,
) -> Result<(), LibvirtError> {
    let operation = Operation::Define(name.clone());
    if let Some(old) = find(conn, name, &operation)? {
        check_mark(&old, name, &operation)?;
    }
    if let Some(cd) = &domain.cdrom {
        let cd = Volume {
            base: cd.clone(),
            base_format: "raw".to_owned(),
        };
        base::check(&cd, shell)?;
        base::admit(conn, &cd, shell)?;
    }
    let xml = xml(template, name, domain, Parts::All).map_err(xml_failed(&operation))?;
    if let Some(config) = &domain.seed {
        seed::write(conn, name, config)?;
    }
    conn.define_domain_xml(&xml).map_err(failed(&operation))?;
    // After the domain, so that a run that is killed leaves no folder without one.
    Ok(logs::create_folder(name.lab(), shell)?)
}

/// Returns the XML of these parts of a domain, with its files on the host.
pub(super) fn xml(template: &Template, name: &DomainName, domain: &Domain, parts: Parts) -> Result<String, XmlError> {
    let files = Files {
        disk: &volumes::path(name),
        further: &volumes::folder(name.lab()),
        seed: &seed::path(name),
        console_log: &logs::console(name),
    };
    render_parts(template, name, domain, files, parts)
}

fn find(conn: &Connect, name: &DomainName, operation: &Operation) -> Result<Option<VirDomain>, LibvirtError> {
    match conn.lookup_domain_by_name(&name.to_string()) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if is(&error, ErrorNumber::NoDomain) => Ok(None),
        Err(error) => Err(failed(operation)(error)),
    }
}

/// Returns the domain of this name; an error if it does not exist or is not netlab's.
pub(super) fn own(conn: &Connect, name: &DomainName, operation: &Operation) -> Result<VirDomain, LibvirtError> {
    let domain = conn
        .lookup_domain_by_name(&name.to_string())
        .map_err(failed(operation))?;
    check_mark(&domain, name, operation)?;
    Ok(domain)
}

/// Returns the domain that was observed with this UUID; none when it no longer exists.
fn observed(
    conn: &Connect,
    name: &DomainName,
    uuid: &str,
    operation: &Operation,
) -> Result<Option<VirDomain>, LibvirtError> {
    let Some(domain) = find(conn, name, operation)? else {
        return Ok(None);
    };
    let found = domain.uuid_string().map_err(failed(operation))?;
    if !found.eq_ignore_ascii_case(uuid) {
        return Err(LibvirtError::ReplacedDomain {
            domain: name.clone(),
            expected: uuid.to_owned(),
            found,
        });
    }
    check_mark(&domain, name, operation)?;
    Ok(Some(domain))
}

/// Returns an error unless the domain's metadata has netlab's mark with this name.
fn check_mark(domain: &VirDomain, name: &DomainName, operation: &Operation) -> Result<(), LibvirtError> {
    let xml = domain.xml_desc(0).map_err(failed(operation))?;
    let root = Node::parse(&xml).map_err(xml_failed(operation))?;
    let mark = mark_of(&root);
    let has = |key: &str, value: &str| {
        mark.and_then(|mark| mark.child(key))
            .is_some_and(|node| node.text == value)
    };
    if has("lab", name.lab().as_str()) && has("vm", name.vm().as_str()) {
        Ok(())
    } else {
        Err(LibvirtError::ForeignDomain(name.clone()))
    }
}

/// Removes a domain's definition and its logs. A domain that no longer exists counts as removed.
pub(super) fn undefine(conn: &Connect, name: &DomainName, uuid: &str, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let operation = Operation::Undefine(name.clone());
    if let Some(domain) = observed(conn, name, uuid, &operation)? {
        let flags = undefine_flags(&domain, &operation)?;
        // A paused domain counts as not running; undefined, it would live on without a definition.
        unless_stopped(domain.destroy(), &operation)?;
        // Before the definition, by which the next run finds them where this one is killed.
        volumes::clean_up(conn, name, shell);
        logs::delete(name, shell)?;
        checkpoints::forget(name, shell)?;
        return match domain.undefine_flags(flags) {
            Err(error) if !is(&error, ErrorNumber::NoDomain) => Err(failed(&operation)(error)),
            _ => Ok(()),
        };
    }
    volumes::clean_up(conn, name, shell);
    logs::delete(name, shell)?;
    Ok(checkpoints::forget(name, shell)?)
}

/// Returns the flags by which libvirt removes what a domain has besides its definition: the variables of UEFI. A driver
/// without them refuses the flag.
fn undefine_flags(domain: &VirDomain, operation: &Operation) -> Result<u32, LibvirtError> {
    let xml = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(failed(operation))?;
    let root = Node::parse(&xml).map_err(xml_failed(operation))?;
    let os = root.child("os");
    let has_variables = os.is_some_and(|os| os.child("nvram").is_some() || os.attr("firmware") == Some("efi"));
    Ok(if has_variables {
        sys::VIR_DOMAIN_UNDEFINE_NVRAM
    } else {
        0
    })
}

/// Starts a domain paused, so that its console can be opened before it prints anything. One that runs, or is paused and was
/// configured, is left unchanged; one that an interrupted start left paused, perhaps without its NICs, is started again. A disk
/// whose image file has changed is an error.
pub(super) fn start_paused(conn: &Connect, name: &DomainName, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let operation = Operation::Start(name.clone());
    let domain = own(conn, name, &operation)?;
    let (state, _) = domain.state().map_err(failed(&operation))?;
    match state.to_raw() {
        sys::VIR_DOMAIN_RUNNING => return Ok(()),
        sys::VIR_DOMAIN_PAUSED if was_configured(conn, name)? => return Ok(()),
        sys::VIR_DOMAIN_PAUSED => power_off(conn, name)?,
        _ => {}
    }
    let inactive = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(failed(&operation))?;
    let definition = Definitions {
        inactive: &inactive,
        live: None,
    };
    let definition = read(definition).map_err(xml_failed(&operation))?;
    if let Some((_, domain)) = definition {
        if let Some((base, _)) = domain.boot.disk() {
            base::compare(&volumes::folder(name.lab()), (&name.to_string(), name), base, shell)?;
        }
        further::compare(name, &domain, shell)?;
    }
    domain
        .create_with_flags(sys::VIR_DOMAIN_START_PAUSED)
        .map_err(failed(&operation))
}

/// Cuts the power of a domain and starts it again, paused.
pub(super) fn restart_paused(conn: &Connect, name: &DomainName, shell: &dyn Shell) -> Result<(), LibvirtError> {
    power_off(conn, name)?;
    start_paused(conn, name, shell)
}

/// Cuts the power of a domain; one that does not run counts as stopped.
pub(super) fn power_off(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::Stop(name.clone());
    let domain = own(conn, name, &operation)?;
    unless_stopped(domain.destroy(), &operation)
}

/// Returns whether a domain is paused that was configured: libvirt gives one whose start was interrupted the same reason.
pub(super) fn is_paused(conn: &Connect, name: &DomainName) -> Result<bool, LibvirtError> {
    let operation = Operation::Start(name.clone());
    let (state, _) = own(conn, name, &operation)?.state().map_err(failed(&operation))?;
    Ok(state.to_raw() == sys::VIR_DOMAIN_PAUSED && was_configured(conn, name)?)
}

/// Pauses a running domain. One that is paused stays so.
pub(super) fn pause(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::Pause(name.clone());
    let domain = own(conn, name, &operation)?;
    let (state, _) = domain.state().map_err(failed(&operation))?;
    if state.to_raw() == sys::VIR_DOMAIN_PAUSED {
        return Ok(());
    }
    domain.suspend().map_err(failed(&operation)).map(drop)
}

/// Resumes a paused domain. One that runs (the answer to an earlier call was lost) is left running.
pub(super) fn resume(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::Resume(name.clone());
    let domain = own(conn, name, &operation)?;
    let (state, _) = domain.state().map_err(failed(&operation))?;
    if state.to_raw() == sys::VIR_DOMAIN_RUNNING {
        return Ok(());
    }
    domain.resume().map_err(failed(&operation))
}

/// Stops a domain at once. One that is not running, or no longer exists, counts as stopped.
pub(super) fn stop(conn: &Connect, name: &DomainName, uuid: &str) -> Result<(), LibvirtError> {
    let operation = Operation::Stop(name.clone());
    match observed(conn, name, uuid, &operation)? {
        Some(domain) => unless_stopped(domain.destroy(), &operation),
        None => Ok(()),
    }
}

/// Records in the running domain's metadata what its guest was configured with; libvirt drops it when the domain stops.
/// Its addresses are recorded in the definition as well, and stay.
pub(super) fn set_configured(conn: &Connect, name: &DomainName, config: &GuestConfig) -> Result<(), LibvirtError> {
    let operation = Operation::RecordConfiguration(name.clone());
    let json = serde_json::to_string(config).map_err(|source| LibvirtError::Json {
        operation: operation.clone(),
        source,
    })?;
    let addresses = addresses(config).map_err(xml_failed(&operation))?;
    let domain = own(conn, name, &operation)?;
    let live = sys::VIR_DOMAIN_AFFECT_LIVE;
    record(
        &domain,
        ("addresses", &addresses),
        (ADDRESSES_PREFIX, ADDRESSES_URI),
        live | sys::VIR_DOMAIN_AFFECT_CONFIG,
        &operation,
    )?;
    let configured = ("netlab-configured", CONFIGURED_URI);
    record(&domain, ("configured", &json), configured, live, &operation)
}

/// Records which files were written and commands run in the running guest. `lasting`: in the definition as well, for a guest
/// whose disk keeps them; otherwise libvirt drops the record when the domain stops.
pub(super) fn set_tasks(conn: &Connect, name: &DomainName, tasks: &[Task], lasting: bool) -> Result<(), LibvirtError> {
    let operation = Operation::RecordConfiguration(name.clone());
    let json = serde_json::to_string(tasks).map_err(|source| LibvirtError::Json {
        operation: operation.clone(),
        source,
    })?;
    let domain = own(conn, name, &operation)?;
    let affect = if lasting {
        sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG
    } else {
        sys::VIR_DOMAIN_AFFECT_LIVE
    };
    record(&domain, ("tasks", &json), (TASKS_PREFIX, TASKS_URI), affect, &operation)
}

/// Writes one element of the metadata.
fn record(
    domain: &VirDomain,
    (element, text): (&str, &str),
    (prefix, uri): (&str, &str),
    affect: u32,
    operation: &Operation,
) -> Result<(), LibvirtError> {
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
    let mut xml = XmlWriter::new();
    xml.text(element, &[], text).map_err(xml_failed(operation))?;
    let xml = xml.done().map_err(xml_failed(operation))?;
    domain
        .set_metadata(kind, Some(&xml), Some(prefix), Some(uri), affect)
        .map_err(failed(operation))
        .map(drop)
}

/// Records in the definition what the running domain records of its addresses and tasks: it was restored, with its disks.
pub(super) fn keep_records(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::RecordConfiguration(name.clone());
    let domain = own(conn, name, &operation)?;
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
    for (prefix, uri) in [(ADDRESSES_PREFIX, ADDRESSES_URI), (TASKS_PREFIX, TASKS_URI)] {
        let live = match domain.metadata(kind, Some(uri), sys::VIR_DOMAIN_AFFECT_LIVE) {
            Ok(xml) => Some(xml),
            Err(error) if is(&error, ErrorNumber::NoDomainMetadata) => None,
            Err(error) => return Err(failed(&operation)(error)),
        };
        let keep = sys::VIR_DOMAIN_AFFECT_CONFIG;
        let kept = domain.set_metadata(kind, live.as_deref(), Some(prefix), Some(uri), keep);
        // There may be none to remove.
        if let Err(error) = kept
            && !is(&error, ErrorNumber::NoDomainMetadata)
        {
            return Err(failed(&operation)(error));
        }
    }
    Ok(())
}

/// Returns whether the running domain has a record of [`set_configured`].
pub(super) fn was_configured(conn: &Connect, name: &DomainName) -> Result<bool, LibvirtError> {
    let operation = Operation::RecordConfiguration(name.clone());
    let domain = own(conn, name, &operation)?;
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
    match domain.metadata(kind, Some(CONFIGURED_URI), sys::VIR_DOMAIN_AFFECT_LIVE) {
        Ok(_) => Ok(true),
        Err(error) if is(&error, ErrorNumber::NoDomainMetadata) => Ok(false),
        Err(error) => Err(failed(&operation)(error)),
    }
}

/// Accepts the errors of a domain that does not run or no longer exists.
fn unless_stopped(result: Result<(), Error>, operation: &Operation) -> Result<(), LibvirtError> {
    match result {
        Err(error) if is(&error, ErrorNumber::NoDomain) || is(&error, ErrorNumber::OperationInvalid) => Ok(()),
        result => result.map_err(failed(operation)),
    }
}
