//! Jobs of systemd: submitted one after the other, waited for together.
//!
//! The signal `JobRemoved` is subscribed to before the first call, so that a job which ends at
//! once is not missed, and signals are taken in while calls are on their way. Should one be lost
//! with the bus, a look at the job now and then finds it gone. A job is never submitted twice: over a
//! new connection it is found again by its path.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use zbus::zvariant::{ObjectPath, OwnedObjectPath};
use zbus::{MatchRule, Message, MessageStream};

use super::link::{CALL_DEADLINE, CallError, Link, MANAGER, PATH, PROPERTIES, read};

const JOB: &str = "org.freedesktop.systemd1.Job";

/// Without a signal for so long, the jobs are looked at.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(2);

/// Once a job is gone, its signal is already on the way.
const LATE_SIGNAL_PATIENCE: Duration = Duration::from_millis(100);

/// Result of a job that is gone without a signal: the unit's state tells what became of it.
pub(super) const GONE: &str = "gone";

/// Signals that may wait while one is looked at; other jobs of the machine end meanwhile.
const QUEUED_SIGNALS: usize = 256;

/// A job that is to be submitted, or has been.
#[derive(Debug)]
pub(super) struct Waiting {
    pub action: &'static str,
    pub method: &'static str,
    pub unit: String,
    pub deadline: Duration,
    /// Path of the job and when its time is over, once it was submitted.
    submitted: Option<(OwnedObjectPath, Instant)>,
    /// Its result, or why there is none.
    pub end: Option<Result<String, CallError>>,
}

/// Results by the path of the job.
type Results = BTreeMap<String, String>;

impl Waiting {
    pub(super) fn new(
        action: &'static str,
        method: &'static str,
        unit: &str,
        deadline: Duration,
    ) -> Self {
        Waiting {
            action,
            method,
            unit: unit.to_owned(),
            deadline,
            submitted: None,
            end: None,
        }
    }

    fn until(&self) -> Option<Instant> {
        let submitted = self.submitted.as_ref().filter(|_| self.end.is_none());
        submitted.map(|(_, until)| *until)
    }

    fn take(&mut self, results: &mut Results) {
        if let Some((path, _)) = self.submitted.as_ref().filter(|_| self.end.is_none()) {
            self.end = results.remove(path.as_str()).map(Ok);
        }
    }
}

/// Ends all jobs that have no end yet with the loss of the connection.
pub(super) fn lose(jobs: &mut [Waiting], error: &CallError) {
    for job in jobs.iter_mut().filter(|job| job.end.is_none()) {
        job.end = Some(Err(error.again()));
    }
}

/// Submits what was not submitted yet and waits until every job has an end. An error means that the
/// connection is of no use; the jobs know how far they are.
pub(super) async fn run(link: &Link, jobs: &mut [Waiting]) -> Result<(), CallError> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)?
        .member("JobRemoved")?
        .path(PATH)?
        .build();
    let mut removed = MessageStream::for_match_rule(rule, &link.0, Some(QUEUED_SIGNALS)).await?;
    let mut results = Results::new();
    // Found again over a new connection, a job may have ended in between.
    let again = jobs.iter().any(|job| job.until().is_some());
    submit(link, jobs, &mut removed, &mut results).await?;
    if again {
        look(link, jobs, &mut removed, &mut results).await?;
    }
    collect(link, jobs, &mut removed, &mut results).await
}

async fn submit(
    link: &Link,
    jobs: &mut [Waiting],
    removed: &mut MessageStream,
    results: &mut Results,
) -> Result<(), CallError> {
    let new = jobs
        .iter_mut()
        .filter(|job| job.submitted.is_none() && job.end.is_none());
    for job in new {
        let until = Instant::now() + job.deadline;
        let body = (job.unit.as_str(), "replace");
        let limit = CALL_DEADLINE.min(job.deadline);
        let call = link.call(PATH, MANAGER, job.method, &body, limit);
        tokio::pin!(call);
        let reply = loop {
            tokio::select! {
                reply = &mut call => break reply,
                signal = removed.next() => note(signal, results)?,
            }
        };
        match reply.and_then(|reply| read::<OwnedObjectPath>(&reply)) {
            Ok(path) => job.submitted = Some((path, until)),
            Err(error @ CallError::Lost(_)) => return Err(error),
            Err(error) => job.end = Some(Err(error)),
        }
    }
    Ok(())
}

async fn collect(
    link: &Link,
    jobs: &mut [Waiting],
    removed: &mut MessageStream,
    results: &mut Results,
) -> Result<(), CallError> {
    loop {
        jobs.iter_mut().for_each(|job| job.take(results));
        results.clear();
        let now = Instant::now();
        for job in jobs.iter_mut() {
            if job.until().is_some_and(|until| until <= now) {
                job.end = Some(Err(CallError::Silent(job.deadline)));
            }
        }
        let Some(next) = jobs.iter().filter_map(Waiting::until).min() else {
            return Ok(());
        };
        let patience = SIGNAL_PATIENCE.min(next - now);
        match timeout(patience, removed.next()).await {
            Ok(signal) => note(signal, results)?,
            Err(_) if patience < SIGNAL_PATIENCE => {}
            Err(_) => look(link, jobs, removed, results).await?,
        }
    }
}

/// Asks for each job whether it is still there.
async fn look(
    link: &Link,
    jobs: &mut [Waiting],
    removed: &mut MessageStream,
    results: &mut Results,
) -> Result<(), CallError> {
    let mut gone = Vec::new();
    for (at, job) in jobs.iter().enumerate() {
        if let Some((path, _)) = job.submitted.as_ref().filter(|_| job.end.is_none())
            && !is_queued(link, path).await?
        {
            gone.push(at);
        }
    }
    while !gone.is_empty() {
        match timeout(LATE_SIGNAL_PATIENCE, removed.next()).await {
            Ok(signal) => note(signal, results)?,
            Err(_) => break,
        }
    }
    for at in gone {
        jobs[at].take(results);
        jobs[at].end.get_or_insert_with(|| Ok(GONE.to_owned()));
    }
    Ok(())
}

fn note(signal: Option<zbus::Result<Message>>, results: &mut Results) -> Result<(), CallError> {
    let lost = || CallError::Lost("the connection ended".to_owned());
    let signal = signal.ok_or_else(lost)??;
    let body = signal.body();
    let (_, job, _, result): (u32, ObjectPath<'_>, &str, &str) = body.deserialize()?;
    results.insert(job.as_str().to_owned(), result.to_owned());
    Ok(())
}

async fn is_queued(link: &Link, job: &OwnedObjectPath) -> Result<bool, CallError> {
    let body = (JOB, "State");
    let answer = link.call(job.as_str(), PROPERTIES, "Get", &body, CALL_DEADLINE);
    match answer.await {
        Ok(_) => Ok(true),
        Err(CallError::Answer(..)) => Ok(false),
        Err(error) => Err(error),
    }
}
