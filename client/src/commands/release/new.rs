//! `nixctl release new`

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nixctl_proto::feed::{
    Artifact, Envelope, FORMAT, Feed, Product, Release, Rollout, Target, Timestamp, Version,
};
use nixctl_proto::{Code, Exit, Failure};
use ring::digest::{Context as Hasher, SHA256};

use super::{cannot_read, feed_of, write};
use crate::cli::{Archive, Content, ReleaseNew};
use crate::commands::{Context, Outcome};

const SECONDS_OF_A_DAY: u64 = 86_400;

/// Writes the next feed.
pub fn run(context: &mut Context, what: &ReleaseNew, now: u64) -> Outcome {
    let mut feed = match &what.from {
        Some(file) => next_of(feed_of(file)?, what)?,
        None => Feed {
            format: FORMAT,
            channel: what.channel.clone().unwrap_or_default(),
            serial: 1,
            created: Timestamp::new(now),
            expires: Timestamp::new(now),
            releases: Vec::new(),
            targets: Default::default(),
        },
    };
    feed.created = Timestamp::new(now);
    feed.expires = Timestamp::new(now.saturating_add(what.days * SECONDS_OF_A_DAY));
    let product = what.product.into();
    set(&mut feed, product, &what.resume, |it| {
        (it.halted, it.paused) = (false, false)
    })?;
    set(&mut feed, product, &what.pause, |it| it.paused = true)?;
    set(&mut feed, product, &what.halt, |it| it.halted = true)?;
    if let Some(version) = &what.version {
        feed.releases.push(release(what, version, now)?);
    }
    set_targets(&mut feed, what)?;
    let text = feed.to_text() + "\n";
    // Whatever could not be signed is not written either.
    Envelope::unsigned(&text).map_err(|error| error.failure())?;
    write(context, &what.output, &text, what.replace)?;
    if what.output != Path::new("-") {
        if context.json {
            context.terminal.json(&feed);
        }
        let file = what.output.display();
        let (serial, expires) = (feed.serial, feed.expires);
        context.remark(&format!(
            "written to {file}: serial {serial}, expires at {expires}; sign it with `nixctl release sign`"
        ));
    }
    Ok(Exit::Done)
}

/// The feed to go on from, with a higher serial.
fn next_of(mut feed: Feed, what: &ReleaseNew) -> Result<Feed, Failure> {
    if let Some(channel) = what.channel.as_ref().filter(|it| **it != feed.channel) {
        let message = format!(
            "cannot go on from a feed of `{}` to `{channel}`",
            feed.channel
        );
        return Err(Failure::new(Code::InvalidArgument, message)
            .with_help("each channel has a feed of its own; leave --from out for a new one"));
    }
    feed.serial = feed.serial.saturating_add(1);
    Ok(feed)
}

/// Changes the releases of these versions, each of which must be there.
fn set(
    feed: &mut Feed,
    product: Product,
    versions: &[Version],
    change: impl Fn(&mut Release),
) -> Result<(), Failure> {
    for version in versions {
        let is_it = |it: &&mut Release| it.product == product && it.version == *version;
        let Some(release) = feed.releases.iter_mut().find(is_it) else {
            let message = format!("cannot change {product} {version}: the feed does not have it");
            return Err(Failure::new(Code::InvalidArgument, message)
                .with_help("see which it has with `nixctl release verify`"));
        };
        change(release);
    }
    Ok(())
}

/// Names what groups of machines should run.
fn set_targets(feed: &mut Feed, what: &ReleaseNew) -> Result<(), Failure> {
    for group in &what.no_target {
        if feed.targets.remove(group).is_none() {
            let message = format!("cannot take out the group {group}: the feed does not have it");
            return Err(Failure::new(Code::InvalidArgument, message)
                .with_help("see which it has with `nixctl release verify --json`"));
        }
    }
    for named in &what.targets {
        let target = Target {
            toplevel: named.toplevel.clone(),
            from: named.cache.clone(),
        };
        feed.targets.insert(named.group.clone(), target);
    }
    Ok(())
}

fn release(what: &ReleaseNew, version: &Version, now: u64) -> Result<Release, Failure> {
    let mut release = Release {
        product: what.product.into(),
        version: version.clone(),
        notes: what.notes.clone(),
        minimum_nixctld: what.minimum_nixctld.clone(),
        halted: false,
        paused: false,
        rollout: Rollout {
            start: what.start.unwrap_or(Timestamp::new(now)),
            start_share: what.start_share,
            minutes: what.minutes,
            curve: what.curve.into(),
        },
        systems: Default::default(),
    };
    for archive in &what.systems {
        let system = archive.system.clone();
        if release.systems.insert(system, artifact(archive)?).is_some() {
            let message = format!("cannot add two archives for {}", archive.system);
            return Err(
                Failure::new(Code::InvalidArgument, message).with_help("name each system once")
            );
        }
    }
    Ok(release)
}

fn artifact(archive: &Archive) -> Result<Artifact, Failure> {
    let (size, sha256) = match &archive.content {
        Content::Known { size, sha256 } => (*size, sha256.clone()),
        Content::File(file) => {
            measure(file).map_err(|error| cannot_read(file, &error.to_string()))?
        }
    };
    Ok(Artifact {
        url: archive.url.clone(),
        size,
        sha256,
    })
}

/// Size and SHA-256 of a file.
fn measure(file: &Path) -> std::io::Result<(u64, String)> {
    let mut source = File::open(file)?;
    let (mut hasher, mut size, mut chunk) = (Hasher::new(&SHA256), 0, vec![0; 1 << 16]);
    loop {
        let count = source.read(&mut chunk)?;
        if count == 0 {
            let digest = hasher.finish();
            let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
            return Ok((size, digits.collect()));
        }
        hasher.update(&chunk[..count]);
        size += count as u64;
    }
}
