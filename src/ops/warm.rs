//! Makes the saved states that guests of an image are started from: a lab of its own, with one emulated host and one VM of each
//! kind, comes up and goes down.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;

use serde::Serialize;

use super::{DownOptions, Env, LoadOptions, OpsError, UpOptions, down, load, load_images, load_text, up};
use crate::event::{Cancel, Event, Events};
use crate::image;
use crate::lab::{ImageName, Vm, write_image};

/// Saved states of an image's guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarmReport {
    /// The image.
    pub image: ImageName,
    /// How many kinds of VMs can be restored.
    pub kinds: usize,
}

/// A kind of VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    memory_mib: Option<u64>,
    disk_mib: Option<u64>,
    cpus: u32,
    nics: usize,
}

impl Shape {
    /// Returns the kind of a VM; none where it has further disks or a CD, with which it boots.
    fn of(vm: &Vm) -> Option<Self> {
        (vm.disks.is_empty() && vm.cdrom.is_none()).then_some(Self {
            memory_mib: vm.memory_mib,
            disk_mib: vm.disk_mib,
            cpus: vm.cpus,
            nics: vm.nics.len(),
        })
    }
}

/// Makes the saved states of guests of `image`: for each kind of VM that the lab file `lab` has of it, or else for a VM as the image
/// has it, with one NIC. An image whose guests always boot is [`OpsError::NeverWarm`]; why a state could not be made is in
/// [`OpsError::NotWarm`].
pub fn warm(env: &Env, image: &ImageName, lab: Option<&Path>) -> Result<WarmReport, OpsError> {
    let entries = load_images(env, lab)?;
    let Some(entry) = entries.get(image) else {
        return Err(image::unknown(image, &entries).into());
    };
    if !entry.warm {
        return Err(OpsError::NeverWarm(image.clone()));
    }
    let mut shapes = BTreeSet::new();
    if let Some(file) = lab {
        let loaded = load(env, file, &LoadOptions::default())?;
        shapes.extend(
            loaded
                .lab
                .vms
                .values()
                .filter(|vm| vm.image == *image)
                .filter_map(Shape::of),
        );
    }
    if shapes.is_empty() {
        shapes.insert(Shape {
            memory_mib: None,
            disk_mib: None,
            cpus: 1,
            nics: 1,
        });
    }
    let own = (image::entries()?.get(image) != Some(entry)).then(|| write_image(image, entry));
    let text = text(image, own.as_deref().unwrap_or_default(), &shapes);
    let loaded = load_text(env, text, &LoadOptions::default())?;
    let (result, booted) = watched(env, |env| up(env, &loaded, &UpOptions::default()));
    // Also where a signal has stopped it.
    let cleaning = Env {
        cancel: Cancel::default(),
        ..env.clone()
    };
    down(&cleaning, &loaded.topology.lab, &DownOptions::default())?;
    result?;
    if let Some(why) = booted.into_iter().next() {
        let image = image.clone();
        return Err(OpsError::NotWarm { image, why });
    }
    Ok(WarmReport {
        image: image.clone(),
        kinds: shapes.len(),
    })
}

/// Runs `work` and passes its events on; returns why guests booted, too.
fn watched<T>(env: &Env, work: impl FnOnce(&Env) -> T) -> (T, Vec<String>) {
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        let passing = scope.spawn(move || {
            let mut booted = Vec::new();
            for event in receiver {
                if let Event::Started {
                    restored: false, why, ..
                } = &event
                {
                    booted.push(why.clone().unwrap_or_else(|| "they have no saved state".to_owned()));
                }
                env.events.send(event);
            }
            booted
        });
        let watched = Env {
            events: Events::to(sender),
            ..env.clone()
        };
        let result = work(&watched);
        drop(watched);
        (
            result,
            passing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    })
}

/// Returns the lab file.
fn text(image: &ImageName, own: &str, shapes: &BTreeSet<Shape>) -> String {
    let mut text = format!("name = \"warm-{}\"\nhosts.machine = {{}}\n{own}", std::process::id());
    let networks = shapes.iter().map(|shape| shape.nics).max().unwrap_or_default();
    // Writing to a `String` cannot fail.
    for number in 0..networks {
        // The range for tests of network devices (RFC 2544).
        let _ = write!(text, "\n[networks.n{number}]\nsubnet = \"198.18.{number}.0/24\"\n");
    }
    for (number, shape) in shapes.iter().enumerate() {
        let nics = (0..shape.nics).map(|nic| format!("{{ network = \"n{nic}\" }}"));
        let nics: Vec<String> = nics.collect();
        let _ = write!(
            text,
            "\n[vms.vm{number}]\nimage = \"{image}\"\ncpus = {}\nnics = [{}]\n",
            shape.cpus,
            nics.join(", ")
        );
        if let Some(mib) = shape.memory_mib {
            let _ = writeln!(text, "memory = \"{mib}MiB\"");
        }
        if let Some(mib) = shape.disk_mib {
            let _ = writeln!(text, "disk = \"{mib}MiB\"");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_has_a_vm_of_each_kind_and_is_valid() {
        let image: ImageName = "mini".parse().unwrap();
        let shape = |memory_mib, nics| Shape {
            memory_mib,
            disk_mib: None,
            cpus: 2,
            nics,
        };
        let shapes = [shape(None, 1), shape(Some(96), 0), shape(Some(96), 3)].into();
        let text = text(&image, "", &shapes);
        let lab = crate::lab::load_text(&text, &[image].into(), None).unwrap();
        let found: BTreeSet<Shape> = lab.vms.values().filter_map(Shape::of).collect();
        assert_eq!(found, shapes);
    }
}
