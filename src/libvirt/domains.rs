//! A domain from its definition to its end. Every call may be made again after the connection broke in the middle.

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::error::Error;
use virt::sys;

use super::{NO_DOMAIN, OPERATION_INVALID, base, code, failed, logs, messages, other, seed, volumes, xml_failed};
use crate::host::HostError;
use crate::lab::Boot;
use crate::libvirt::domain_xml::{
    CONFIGURED_URI, Definitions, Files, Node, Template, XmlWriter, mark_of, read, render,
};
use crate::state::{Domain, DomainName, GuestConfig};
use crate::transport::cmd::Shell;

/// Defines a domain, or changes one of ours. A domain of the same name that is not ours is left alone.
pub(super) fn define(
    conn: &Connect,
    name: &DomainName,
    domain: &Domain,
    template: &Template,
    shell: &dyn Shell,
) -> Result<(), HostError> {
    let doing = format!("defining {name}");
    if let Some(old) = find(conn, name, &doing)? {
        own(&old, name, &doing)?;
    }
    let (disk, console_log) = (volumes::path(name), logs::console(name));
    let files = Files {
        disk: &disk,
        seed: &seed::path(name),
        console_log: &console_log,
    };
    let xml = render(template, name, domain, files).map_err(xml_failed(&doing))?;
    logs::make(name.lab(), shell)?;
    if let Some(config) = &domain.seed {
        seed::write(conn, name, config)?;
    }
    conn.define_domain_xml(&xml)
        .map(drop)
        .map_err(|error| in_plain_words(&doing, &error))
}

fn find(conn: &Connect, name: &DomainName, doing: &str) -> Result<Option<VirDomain>, HostError> {
    match conn.lookup_domain_by_name(&name.to_string()) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if code(&error) == NO_DOMAIN => Ok(None),
        Err(error) => Err(failed(doing)(error)),
    }
}

/// The domain of this name, after checking that it is ours.
pub(super) fn ours(conn: &Connect, name: &DomainName, doing: &str) -> Result<VirDomain, HostError> {
    let domain = conn.lookup_domain_by_name(&name.to_string()).map_err(failed(doing))?;
    own(&domain, name, doing)?;
    Ok(domain)
}

/// The very domain that was observed; none when it has gone.
fn same(conn: &Connect, name: &DomainName, uuid: &str, doing: &str) -> Result<Option<VirDomain>, HostError> {
    let Some(domain) = find(conn, name, doing)? else {
        return Ok(None);
    };
    let found = domain.uuid_string().map_err(failed(doing))?;
    if !found.eq_ignore_ascii_case(uuid) {
        return Err(other(
            doing,
            format!("it is another domain now (uuid {found}, not {uuid}); left alone"),
        ));
    }
    own(&domain, name, doing)?;
    Ok(Some(domain))
}

/// An error unless the domain carries our mark under this very name.
fn own(domain: &VirDomain, name: &DomainName, doing: &str) -> Result<(), HostError> {
    let xml = domain.xml_desc(0).map_err(failed(doing))?;
    let root = Node::parse(&xml).map_err(xml_failed(doing))?;
    let mark = mark_of(&root);
    let says = |what: &str, wanted: &str| mark.and_then(|m| m.child(what)).is_some_and(|n| n.text == wanted);
    if says("lab", name.lab().as_str()) && says("vm", name.vm().as_str()) {
        return Ok(());
    }
    Err(other(
        doing,
        format!("there is a domain {name} that netlab did not make; left alone"),
    ))
}

/// Removes a domain's definition and its logs; one that has gone counts as removed.
pub(super) fn undefine(conn: &Connect, name: &DomainName, uuid: &str, shell: &dyn Shell) -> Result<(), HostError> {
    let doing = format!("removing {name}");
    if let Some(domain) = same(conn, name, uuid, &doing)? {
        // Paused, it counts as not running; undefined, it would live on without a definition.
        gone_is_fine(domain.destroy(), &doing)?;
        match domain.undefine() {
            Err(error) if code(&error) != NO_DOMAIN => return Err(failed(&doing)(error)),
            _ => {}
        }
    }
    volumes::tidy(conn, name, shell);
    Ok(logs::delete(name, shell)?)
}

/// Starts a domain paused, so that its console can be opened before it prints anything. One that is already there
/// (from a start cut short) is taken as it is. A disk whose base has changed is not started from.
pub(super) fn start_paused(conn: &Connect, name: &DomainName, shell: &dyn Shell) -> Result<(), HostError> {
    let doing = format!("starting {name}");
    let domain = ours(conn, name, &doing)?;
    let (state, _) = domain.state().map_err(failed(&doing))?;
    if [sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_RUNNING].contains(&state.to_raw()) {
        return Ok(());
    }
    let inactive = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).map_err(failed(&doing))?;
    let definition = Definitions {
        inactive: &inactive,
        live: None,
    };
    let definition = read(definition).map_err(xml_failed(&doing))?;
    if let Some((_, domain)) = definition
        && let Boot::Disk { base, .. } = domain.boot
    {
        base::compare(&volumes::folder(name.lab()), name, &base, shell)?;
    }
    domain
        .create_with_flags(sys::VIR_DOMAIN_START_PAUSED)
        .map_err(|error| in_plain_words(&doing, &error))
}

/// Lets a paused domain run; one that runs, as when the answer to this was lost, is left running.
pub(super) fn resume(conn: &Connect, name: &DomainName) -> Result<(), HostError> {
    let doing = format!("resuming {name}");
    let domain = ours(conn, name, &doing)?;
    let (state, _) = domain.state().map_err(failed(&doing))?;
    if state.to_raw() == sys::VIR_DOMAIN_RUNNING {
        return Ok(());
    }
    domain.resume().map_err(failed(&doing))
}

/// Stops a domain at once; one that is not running, or has gone, counts as stopped.
pub(super) fn stop(conn: &Connect, name: &DomainName, uuid: &str) -> Result<(), HostError> {
    let doing = format!("stopping {name}");
    match same(conn, name, uuid, &doing)? {
        Some(domain) => gone_is_fine(domain.destroy(), &doing),
        None => Ok(()),
    }
}

/// Notes at the running domain what its guest was told; the note goes when the domain stops.
pub(super) fn set_configured(conn: &Connect, name: &DomainName, config: &GuestConfig) -> Result<(), HostError> {
    let doing = format!("noting the configuration of {name}");
    let json = serde_json::to_string(config).map_err(|e| other(&doing, e))?;
    let mut xml = XmlWriter::new();
    xml.text("configured", &[], &json).map_err(xml_failed(&doing))?;
    let xml = xml.done().map_err(xml_failed(&doing))?;
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
    let (key, uri) = (Some("netlab-configured"), Some(CONFIGURED_URI));
    ours(conn, name, &doing)?
        .set_metadata(kind, Some(&xml), key, uri, sys::VIR_DOMAIN_AFFECT_LIVE)
        .map_err(failed(&doing))
}

/// A domain that has gone or does not run is what was wanted.
fn gone_is_fine(result: Result<(), Error>, doing: &str) -> Result<(), HostError> {
    match result {
        Err(error) if !matches!(code(&error), NO_DOMAIN | OPERATION_INVALID) => Err(failed(doing)(error)),
        _ => Ok(()),
    }
}

/// libvirt's error, led by what it means for the user where that is known.
fn in_plain_words(doing: &str, error: &Error) -> HostError {
    let said = error.message();
    HostError::Libvirt {
        doing: doing.to_owned(),
        message: match messages::plain(said) {
            Some(words) => format!("{words} ({said})"),
            None => said.to_owned(),
        },
        code: code(error),
    }
}
