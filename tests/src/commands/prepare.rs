//! `prepare`: tools on the host, then the images and releases, so that tests start at once.

use std::process::ExitCode;
use std::time::Instant;

use nixctl_lab::generation::{Spec, generation};
use nixctl_lab::{Error, Result, dist, image, prepare};

/// Runs the command.
pub fn run() -> Result<ExitCode> {
    tools()?;
    images()?;
    Ok(ExitCode::SUCCESS)
}

/// What the host must have.
pub fn tools() -> Result<()> {
    prepare::install()?;
    let missing = prepare::missing();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::new("prepare the lab", missing.join("; ")))
    }
}

/// The images of machines, and the releases of Nix.
pub fn images() -> Result<()> {
    for kind in [image::Kind::System, image::Kind::Container] {
        let began = Instant::now();
        let root = image::root(kind)?;
        println!(
            "lab: image {} ({:.1} s)",
            root.display(),
            began.elapsed().as_secs_f32()
        );
    }
    for version in dist::Version::ALL {
        let began = Instant::now();
        let release = dist::nix_release(version)?;
        let seconds = began.elapsed().as_secs_f32();
        println!(
            "lab: Nix {} in {} ({seconds:.1} s)",
            release.version,
            release.tar_xz.display()
        );
    }
    Ok(())
}

/// The generations that switches are tested with: making them takes longer than a test may.
pub fn generations() -> Result<()> {
    for spec in [Spec::old(), Spec::new()] {
        let began = Instant::now();
        let made = generation(&spec)?;
        println!(
            "lab: generation {} ({:.1} s)",
            made.toplevel,
            began.elapsed().as_secs_f32()
        );
    }
    Ok(())
}
