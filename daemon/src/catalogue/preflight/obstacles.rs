//! Checks for systems and installations that stand in the way.

use nixctl_proto::{Code, Failure};

use super::{Case, Verdict};
use crate::catalogue::existing::Adoption;
use crate::catalogue::facts::{LeftoverKind, Manager, NixDir};

pub(super) fn nixos(case: &Case<'_>) -> Verdict {
    if !case.facts.system.nixos {
        return Ok("this is not NixOS".to_owned());
    }
    let message =
        "cannot install Nix on NixOS: the system configuration owns it (/etc/NIXOS is there)";
    Err(Failure::new(Code::IsNixos, message))
}

pub(super) fn owned(case: &Case<'_>) -> Verdict {
    if let Some((owned, wanted)) = case.other_version() {
        let message =
            format!("cannot install Nix {wanted}: nixctl already owns Nix {owned} on this machine");
        return Err(Failure::new(Code::AlreadyInstalled, message)
            .with_help(format!("run `nixctl upgrade --to {wanted}`")));
    }
    Ok(match case.facts.owned_version() {
        None => "nixctl owns no Nix here yet".to_owned(),
        Some(owned) => format!("nixctl owns Nix {owned} here"),
    })
}

pub(super) fn existing_nix(case: &Case<'_>) -> Verdict {
    let Some(existing) = &case.facts.existing else {
        return Ok("no other installation of Nix was found".to_owned());
    };
    let name = existing.name();
    match (&existing.adoption, case.request.adopt) {
        (Adoption::Natural, _) => Ok(format!("{name} is taken back")),
        (Adoption::Safe(_), true) => match no_adoption_here(case) {
            None => Ok(format!("{name} is taken over")),
            Some(why) => {
                let message = format!("cannot take over {name}: {why}");
                Err(Failure::new(Code::ForeignNix, message)
                    .with_help("remove it with its own means, then run the command again"))
            }
        },
        (Adoption::Safe(_), false) => {
            let seen = existing.seen.join(", ");
            let message =
                format!("cannot install beside {name}: {seen} was found; taking it over is safe");
            Err(Failure::new(Code::ForeignNix, message)
                .with_help("take it over with `nixctl install --adopt`"))
        }
        (Adoption::Unsafe { why, help }, asked) => {
            let seen = existing.seen.join(", ");
            let what = if asked { "take over" } else { "install beside" };
            let message = format!("cannot {what} {name}: {seen} was found, and {why}");
            Err(Failure::new(Code::ForeignNix, message).with_help(help.clone()))
        }
    }
}

fn no_adoption_here(case: &Case<'_>) -> Option<&'static str> {
    match case.facts.system.manager {
        Manager::Systemd if case.request.single_user => Some("it is not single-user"),
        Manager::Systemd => None,
        Manager::None => Some("systemd does not run here"),
        Manager::Image { .. } => Some("an image can only be installed into when it has no Nix"),
    }
}

pub(super) fn nix_folder(case: &Case<'_>) -> Verdict {
    let refuse = |message: String, help: &str| {
        Err(Failure::new(Code::UnsupportedSystem, message).with_help(help))
    };
    match &case.facts.nix_dir {
        NixDir::Absent => Ok("/nix is not there yet".to_owned()),
        NixDir::Directory {
            mounted: Some(kind),
            ..
        } => Ok(format!("/nix is a mount point ({kind})")),
        NixDir::Directory { mounted: None, .. } => Ok("/nix is a folder".to_owned()),
        NixDir::Link(target) => refuse(
            format!(
                "cannot use /nix: it is a link to {}, which Nix refuses as a store",
                target.display()
            ),
            "replace the link by a folder and mount the other place there (mount --bind)",
        ),
        NixDir::NotDirectory => refuse(
            "cannot use /nix: it is not a folder".to_owned(),
            "move /nix away",
        ),
    }
}

pub(super) fn leftovers(case: &Case<'_>) -> Verdict {
    // What belongs to an installation that is taken over is dealt with there.
    let of_adopted = [
        LeftoverKind::Backup,
        LeftoverKind::Unit,
        LeftoverKind::DropIn,
    ];
    let adopts = case.adopts();
    let in_the_way: Vec<String> = case
        .facts
        .leftovers
        .iter()
        .filter(|leftover| !(adopts && of_adopted.contains(&leftover.kind)))
        .map(|leftover| format!("{} ({})", leftover.path.display(), leftover.seen))
        .collect();
    let Some(first) = case
        .facts
        .leftovers
        .iter()
        .find(|leftover| !(adopts && of_adopted.contains(&leftover.kind)))
    else {
        return Ok("nothing is left over from earlier installations".to_owned());
    };
    let path = first.path.display();
    let help = match first.kind {
        LeftoverKind::Backup => {
            format!(
                "compare it with the file it was made of, then move it away: mv {path} {path}.old"
            )
        }
        LeftoverKind::MaskedUnit => format!(
            "unmask it: systemctl unmask {}",
            first.path.file_name().unwrap_or_default().display()
        ),
        LeftoverKind::DanglingBundle => format!("remove the link: rm {path}"),
        _ => format!("move it away: mv {path} /root/"),
    };
    let message = format!(
        "cannot install over leftovers of another installation: {}",
        in_the_way.join("; ")
    );
    Err(Failure::new(Code::Leftovers, message).with_help(help))
}

pub(super) fn wsl(case: &Case<'_>) -> Verdict {
    let system = &case.facts.system;
    let Some(wsl) = system
        .wsl
        .filter(|_| system.container.is_none() && !case.facts.is_image())
    else {
        return Ok("this is not WSL".to_owned());
    };
    let refuse = |message: &str, help: &str| {
        Err(Failure::new(Code::UnsupportedSystem, message).with_help(help))
    };
    match (wsl.version, system.manager) {
        (1, _) => refuse(
            "cannot install Nix under WSL 1: it has no Linux kernel",
            "convert the distribution in Windows: wsl --set-version NAME 2",
        ),
        (_, Manager::None) if !case.request.single_user => refuse(
            "cannot install Nix under WSL without systemd: nothing would start nix-daemon",
            "add `[boot]` and `systemd=true` to /etc/wsl.conf, then run `wsl --shutdown` in Windows",
        ),
        _ => Ok("WSL 2".to_owned()),
    }
}

pub(super) fn image_based(case: &Case<'_>) -> Verdict {
    let system = &case.facts.system;
    let fixed = system.composefs || (system.ostree && case.facts.nix_dir == NixDir::Absent);
    let usable = matches!(case.facts.nix_dir, NixDir::Directory { .. })
        && !case.facts.places.store.read_only;
    if !fixed || usable {
        return Ok("the root folder can be added to".to_owned());
    }
    let kind = if system.composefs {
        "composefs"
    } else {
        "ostree"
    };
    let message = format!(
        "cannot make /nix on this image-based system ({kind}): nothing can be added to its root folder"
    );
    Err(Failure::new(Code::UnsupportedSystem, message).with_help(
        "put an empty folder /nix into the image and mount a writable file system there, or set \
         `[root] transient = true` in /etc/ostree/prepare-root.conf and rebuild the initramfs",
    ))
}
