//! What guests are given besides their NICs, once every address is known.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Existing, Guest, Topology};
use crate::lab::{Content, FileSource, Image, ImageName, Lab, Password, Proxies, Setup, Task, Template, VmName};

/// What a guest is given, by cloud-init and over its console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestSetup {
    /// Public SSH keys; absent: nothing is written, and nothing was given before.
    pub ssh_keys: Option<Vec<String>>,
    /// Its account; absent: that of the image's console.
    pub user: Option<String>,
    /// The password of the account; absent: that of the image's console.
    pub password: Option<Password>,
    /// Further settings for cloud-init.
    pub user_data: Option<Content>,
    /// Packages that cloud-init installs.
    pub packages: Vec<String>,
    /// Files to write, then commands to run.
    pub tasks: Vec<Task>,
    /// Proxies for its commands and packages.
    pub proxies: Proxies,
    /// Keys that only cloud-init can use, where the image has none.
    pub unusable: Vec<&'static str>,
}

/// Gives `guests` their setup. Keys of guests that exist stay unless the lab has others.
pub(super) fn add(
    lab: &Lab,
    images: &BTreeMap<ImageName, Image>,
    existing: &Existing,
    guests: &mut BTreeMap<VmName, Guest>,
) {
    let setups = guests.keys().filter_map(|name| Some((name, lab.vms.get(name)?)));
    let setups = setups.map(|(name, vm)| {
        let cloud_init = images.get(&vm.image).is_some_and(|image| image.cloud_init);
        let unusable = if cloud_init {
            Vec::new()
        } else {
            vm.setup.of_cloud_init()
        };
        let setup = if cloud_init {
            vm.setup.or(&lab.setup)
        } else {
            // What the lab gives to every VM is meant for those that can use it.
            vm.setup.or(&lab.setup.without_cloud_init())
        };
        GuestSetup {
            tasks: tasks(&setup, name, |vm| address(guests, vm)),
            ssh_keys: setup.ssh_keys.or_else(|| existing.ssh_keys.get(name).cloned()),
            user: setup.user,
            password: setup.password,
            user_data: setup.user_data.map(|file| file.content),
            packages: setup.packages.unwrap_or_default(),
            proxies: Proxies::default(),
            unusable,
        }
    });
    let setups: Vec<GuestSetup> = setups.collect();
    for (guest, setup) in guests.values_mut().zip(setups) {
        guest.setup = setup;
    }
}

/// Gives the commands and packages of all guests `proxies`, by which none of the guests is asked.
pub(super) fn add_proxies(guests: &mut BTreeMap<VmName, Guest>, proxies: &Proxies) {
    let own = guests
        .iter()
        .filter_map(|(name, guest)| Some((name, first_address(guest)?)));
    let own = own.flat_map(|(name, address)| [name.to_string(), address.to_string()]);
    let proxies = proxies.clone().but_for(own);
    for guest in guests.values_mut() {
        guest.setup.proxies = proxies.clone();
    }
}

/// Returns the address of a guest, its first one.
fn address(guests: &BTreeMap<VmName, Guest>, vm: &VmName) -> Option<Ipv4Addr> {
    first_address(guests.get(vm)?)
}

fn first_address(guest: &Guest) -> Option<Ipv4Addr> {
    Some(guest.nics.first()?.address.addr())
}

fn tasks(setup: &Setup, vm: &VmName, address: impl Fn(&VmName) -> Option<Ipv4Addr>) -> Vec<Task> {
    let text = |template: &Template| Content::from(template.text(vm, &address).as_str());
    let files = setup.files.iter().flatten().map(|file| Task::Write {
        path: file.path.clone(),
        content: match &file.source {
            FileSource::Text(template) => text(template),
            FileSource::File(file) => file.content.clone(),
        },
        mode: file.mode,
    });
    let commands = setup.run.iter().flatten().map(|command| Task::Run(text(command)));
    files.chain(commands).collect()
}

/// Returns `lab` with the files and commands of each VM as they are in `topology`.
pub fn expand(mut lab: Lab, topology: &Topology) -> Lab {
    let everyones = std::mem::take(&mut lab.setup);
    for (name, vm) in &mut lab.vms {
        let plain = |template: &mut Template| {
            *template = Template::plain(template.text(name, |vm| address(&topology.guests, vm)));
        };
        let setup = vm.setup.or(&everyones);
        vm.setup.files = setup.files;
        vm.setup.run = setup.run;
        vm.setup.run.iter_mut().flatten().for_each(plain);
        for file in vm.setup.files.iter_mut().flatten() {
            if let FileSource::Text(template) = &mut file.source {
                plain(template);
            }
        }
    }
    lab.setup = Setup {
        files: None,
        run: None,
        ..everyones
    };
    lab
}
