//! Requests to limit links or set them down, made while a lab is up: `links.json` in the lab's folder has them. They count
//! more than the lab file, until they are cleared or the lab is taken down.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{CableEnd, LabName, Shaping, VmName};
use crate::topology::LinkShaping;

/// A link that can be limited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkAt {
    /// A guest's NIC, counted from 0.
    Guest(VmName, usize),
    /// A NIC of a host or router, or a port of a switch.
    End(CableEnd),
}

/// Requests by link. One without limits says that a link which the lab file limits has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(pub BTreeMap<LinkAt, Shaping>);

/// A request as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    link: LinkAt,
    shaping: Shaping,
}

fn path(folders: &Folders, lab: &LabName) -> PathBuf {
    folders.lab(lab).join("links.json")
}

impl Requests {
    /// Reads the requests of a lab; none where there is no such file, or where it is damaged.
    pub fn read(folders: &Folders, lab: &LabName) -> io::Result<Self> {
        match std::fs::read(path(folders, lab)) {
            Ok(text) => {
                let kept: Vec<Kept> = serde_json::from_slice(&text).unwrap_or_default();
                Ok(Self(kept.into_iter().map(|kept| (kept.link, kept.shaping)).collect()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the requests of a lab, on disk when this returns.
    pub fn write(&self, folders: &Folders, lab: &LabName) -> io::Result<()> {
        let kept = self.0.iter().map(|(link, shaping)| Kept {
            link: link.clone(),
            shaping: *shaping,
        });
        let text = serde_json::to_vec_pretty(&kept.collect::<Vec<_>>())?;
        Folders::make(&folders.lab(lab))?;
        atomic_file::replace(&path(folders, lab), 0o600, &text).map(drop)
    }

    /// Puts the requests in place of what the lab file states.
    pub fn apply(&self, shaping: &mut LinkShaping) {
        for (link, wanted) in &self.0 {
            let wanted = Some(*wanted).filter(|wanted| !wanted.is_none());
            match (link, wanted) {
                (LinkAt::Guest(vm, at), Some(wanted)) => _ = shaping.guests.insert((vm.clone(), *at), wanted),
                (LinkAt::Guest(vm, at), None) => _ = shaping.guests.remove(&(vm.clone(), *at)),
                (LinkAt::End(end), Some(wanted)) => _ = shaping.ends.insert(end.clone(), wanted),
                (LinkAt::End(end), None) => _ = shaping.ends.remove(end),
            }
        }
    }
}

impl LinkAt {
    /// Returns the limits of this link; none where it has no limits.
    pub fn of(&self, shaping: &LinkShaping) -> Shaping {
        let found = match self {
            Self::Guest(vm, at) => shaping.guests.get(&(vm.clone(), *at)),
            Self::End(end) => shaping.ends.get(end),
        };
        found.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_exactly_and_replace_what_the_lab_file_states() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().to_owned(),
            cache: folder.path().to_owned(),
        };
        let lab: LabName = "quick".parse().unwrap();
        assert_eq!(Requests::read(&folders, &lab).unwrap(), Requests::default());
        let vm: VmName = "vm1".parse().unwrap();
        let end = CableEnd {
            host: "node1".parse().unwrap(),
            nic: "eth0".parse().unwrap(),
        };
        let requests = Requests(
            [
                (LinkAt::Guest(vm.clone(), 1), Shaping::default()),
                (LinkAt::End(end.clone()), Shaping::link_down()),
            ]
            .into(),
        );
        requests.write(&folders, &lab).unwrap();
        let read = Requests::read(&folders, &lab).unwrap();
        assert_eq!(read, requests);

        let mut shaping = LinkShaping::default();
        shaping.guests.insert((vm.clone(), 1), Shaping::link_down());
        read.apply(&mut shaping);
        assert!(shaping.guests.is_empty(), "without limits by request");
        assert!(LinkAt::End(end).of(&shaping).down);
        assert!(LinkAt::Guest(vm, 1).of(&shaping).is_none());
    }
}
